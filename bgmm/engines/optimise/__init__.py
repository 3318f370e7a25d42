"""Optimisation from many starts: where to begin, EM, L-BFGS, and the modes that they end in."""

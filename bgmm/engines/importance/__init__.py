"""Importance sampling in the unconstrained parameters of a mixture: one labelling, and proposals that cover it."""

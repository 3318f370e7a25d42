"""Gibbs sampling of mixtures with a known or unknown number of components, on whatever priors a family declares."""

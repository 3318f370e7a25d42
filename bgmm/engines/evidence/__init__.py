"""The marginal likelihood (evidence) of a mixture with a known number of components."""

"""Normal approximations of a posterior, by Laplace's method or variational inference, and draws weighted to correct them."""

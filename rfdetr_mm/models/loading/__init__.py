"""Fitting the weights of a checkpoint to a module, or refusing them."""

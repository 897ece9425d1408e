"""Functions with backward passes of our own, which need less memory."""

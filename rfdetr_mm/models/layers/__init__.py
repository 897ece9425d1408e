"""Layers that the registry modules are built from."""

"""What a config says of images and classes: read, checked and set here.

The modules import no room of the package, so every room may import them.
"""

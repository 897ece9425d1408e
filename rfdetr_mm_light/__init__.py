"""The part of rfdetr_mm that needs the standard library only.

It holds plain facts (sizes, published files, the version), the errors that
are for users, and the command line's parser. ``import rfdetr_mm`` registers
everything and therefore imports torch and mmdet, which takes seconds; the
command ``rfdetr-mm`` starts here, so that its help and ``rfdetr-mm info`` do
not wait for them. This package imports neither torch nor anything of
``rfdetr_mm``, which imports this one.
"""

"""Subcommands of ``rfdetr-mm`` that exported files run, without torch."""

"""Errors whose messages are for the user."""


class InputError(ValueError):
    """A file, folder or option that the user gave cannot be used.

    Its message is written for the user: it says what is wrong with which
    file or option and what to do. The tools print it without a traceback,
    so nothing else may raise it.
    """


class UsageError(Exception):
    """Options that do not go together; the command ends with exit code 2."""

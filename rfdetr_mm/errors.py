"""The error of a user's input, apart from errors of a program."""


class InputError(ValueError):
    """A file, folder or option that the user gave cannot be used.

    Its message is written for the user: it says what is wrong with which
    file or option and what to do. The tools print it without a traceback,
    so nothing else may raise it.
    """

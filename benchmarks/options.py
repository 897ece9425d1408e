"""What the command lines here have in common."""

import argparse


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help names every option's default."""
    return argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def positive(text: str) -> int:
    """The type of an option that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be positive, got {number}')
    return number

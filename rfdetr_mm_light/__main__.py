"""``python -m rfdetr_mm_light`` is the command ``rfdetr-mm``."""

from .command_line.main import program

if __name__ == '__main__':
    program()

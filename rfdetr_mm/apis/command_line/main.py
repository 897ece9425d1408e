"""The command line, which starts without torch in ``rfdetr_mm_light``."""

from rfdetr_mm_light.command_line.main import (
    COMMANDS,
    build_parser,
    main,
    program,
)

__all__ = ['COMMANDS', 'build_parser', 'main', 'program']

if __name__ == '__main__':
    program()

"""The folder of a report: whether it may be written, and reading it again."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rfdetr_mm.errors import InputError

FORMAT = 'rfdetr_mm evaluation report'
VERSION = 1
JSON_FILE, PAGE_FILE = 'report.json', 'index.html'


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Complain now about a folder that the report cannot be written to.

    Args:
        folder: It is made if it is missing. One with other things in it than
            an earlier report is left alone.

    Returns:
        The folder.

    Raises:
        InputError: If it cannot be written to, or holds something else.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = any(folder.iterdir())
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b'x')
    except OSError as error:
        raise InputError(
            f'the report cannot be written to {folder} ({error.strerror}); '
            'choose another folder'
        ) from error
    if others and not _is_ours(folder / JSON_FILE):
        raise InputError(
            f'the folder {folder} holds other files and no earlier report, '
            'so nothing is written into it; choose an empty or a new folder '
            'for the report'
        )
    return folder


def check_against(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an earlier report to compare with.

    Args:
        path: Its folder or its ``report.json``.

    Returns:
        Its content.

    Raises:
        InputError: If there is none, or another version has written it.
    """
    path = Path(path)
    file = path / JSON_FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f'there is no report {file} to compare with; give the folder of '
            'an earlier report, or its report.json'
        )
    content = read_report(file)
    if content is None:
        raise InputError(
            f'{file} is not a report of rfdetr-mm val --report or '
            'tools/analysis_tools/report.py'
        )
    if content.get('version') != VERSION:
        raise InputError(
            f'{file} has the version {content.get("version")!r} of the '
            f'report, and this rfdetr_mm reads {VERSION}; write it again with '
            'this rfdetr_mm'
        )
    return content


def read_report(file: Path) -> dict[str, Any] | None:
    """Read a report of any version.

    Args:
        file: A JSON file.

    Returns:
        Its content, None if it is something else.
    """
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    is_report = isinstance(content, dict) and content.get('format') == FORMAT
    return content if is_report else None


def _is_ours(file: Path) -> bool:
    return read_report(file) is not None

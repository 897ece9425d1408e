"""Run ``rfdetr-mm check``.

Its options are in ``rfdetr_mm_light/command_line/check.py``.
"""

import argparse
import json

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.datasets.inspection import (
    Inspection,
    inspect_data_set,
    report_lines,
)
from rfdetr_mm.datasets.suspect_sheet import draw_suspects
from rfdetr_runtime.detection_files import write_json

_QUALITY = 90  # of the sheet's JPEG


def run(args: argparse.Namespace) -> None:
    """Look at the data set.

    Raises:
        SystemExit: With 1 if there are errors or, with ``--strict``, warnings.
    """
    found = inspect_data_set(
        args.dataset,
        args.layout,
        args.images,
        with_mask=args.masks,
        crowd_as_object=args.crowd_as_object,
        decode=args.decode,
    )
    if args.json:
        print(json.dumps(found.as_dict()))
    else:
        print('\n'.join(report_lines(found)))
        print(_verdict(found))
    if args.out_dir is not None:
        write_json(found.as_dict(), args.out_dir / 'report.json')
        sheet = args.out_dir / 'suspects.jpg'
        if found.suspects:
            with atomic_file(sheet) as file:
                draw_suspects(found.suspects).save(
                    file, 'JPEG', quality=_QUALITY
                )
        else:  # that of an earlier run
            sheet.unlink(missing_ok=True)
    if not found.is_ok(args.strict):
        raise SystemExit(1)


def _verdict(found: Inspection) -> str:
    levels = [finding.level for finding in found.findings]
    counts = [
        f'{number} {level}{"" if number == 1 else "s"}'
        for level in ('error', 'warning', 'note')
        if (number := levels.count(level))
    ]
    return ', '.join(counts) or 'nothing odd was found'

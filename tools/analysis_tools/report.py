"""Make a page of detections: ``report.py CONFIG RESULTS --out DIR``.

RESULTS is what ``tools/test.py CONFIG CHECKPOINT --out FILE.pkl`` has
written, or COCO's results as JSON, of the test set of the config. The folder
gets one page, ``index.html``, and its numbers as JSON and CSV.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from run_config import (  # noqa: E402
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
)

# isort: split
from mmdet.utils import register_all_modules  # noqa: E402

from rfdetr_mm.apis.report import report_results  # noqa: E402
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Make a page of detections')
    parser.add_argument('config', help='config file; its test set counts')
    parser.add_argument(
        'results', type=Path, help='FILE.pkl of test.py --out, or COCO JSON'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of the report'
    )
    parser.add_argument(
        '--against',
        type=Path,
        metavar='OTHER',
        help='other results on the same data, or the folder of an earlier '
        'report, to be shown beside',
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the report and return the path of its page."""
    args = parse_args(argv)
    with input_errors_in_one_line(args.verbose):
        cfg = read_config(args)
        register_all_modules(init_default_scope=True)
        resolve_own_data(cfg)
        page = report_results(cfg, args.results, args.out, args.against)
    print(f'the report is {page}')
    return page


if __name__ == '__main__':
    main()

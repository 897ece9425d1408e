"""Run a tool of mmdet on a config of RF-DETR: ``mmdet_tool.py TOOL ARGS``.

mmdet's own scripts read a config as it is written: they neither find the
files of a user's data set (``*_custom.py``) nor know this package's modules.
Here the config is read as ``tools/train.py`` reads it, with its options, and
handed to mmdet's script as a file that is complete. The arguments are those of
mmdet's script, with the config first where it takes one.
"""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from run_config import (  # noqa: E402
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
import mmdet  # noqa: E402
from attention_products import attention_products  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.analysis import complexity_analysis  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402

# Name: its file below mmdet's tools, and whether its first argument is a
# config.
TOOLS = {
    'analyze_logs': ('analysis_tools/analyze_logs.py', False),
    'analyze_results': ('analysis_tools/analyze_results.py', True),
    'browse_dataset': ('analysis_tools/browse_dataset.py', True),
    'coco_error_analysis': ('analysis_tools/coco_error_analysis.py', False),
    'confusion_matrix': ('analysis_tools/confusion_matrix.py', True),
    'eval_metric': ('analysis_tools/eval_metric.py', True),
    'get_flops': ('analysis_tools/get_flops.py', True),
    'print_config': ('misc/print_config.py', True),
    'publish_model': ('model_converters/publish_model.py', False),
}


def script_of(name: str) -> Path:
    """Find the script of a tool.

    Args:
        name: One of ``TOOLS``.

    Raises:
        SystemExit: If the installed mmdet has none.
    """
    package = Path(mmdet.__file__).parent
    for root in (package / '.mim', package.parent):
        path = root / 'tools' / TOOLS[name][0]
        if path.is_file():
            return path
    stop(f'the mmdet in {package} has no tools/{TOOLS[name][0]}')


def complete_config(
    config: str, arguments: Sequence[str], folder: Path
) -> tuple[Path, list[str]]:
    """Write a config with its options and its data set filled in.

    Args:
        config: The config file.
        arguments: What follows it.
        folder: Where it is written.

    Returns:
        The file, with the name of the config, and the arguments without
        ``--cfg-options``.

    Raises:
        InputError: If the config, an option or the data set cannot be used.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    add_cfg_options(parser)
    args, rest = parser.parse_known_args(arguments)
    args.config = config
    cfg = read_config(args)
    register_all_modules(init_default_scope=True)
    resolve_own_data(cfg)
    path = folder / Path(config).name
    cfg.dump(path)
    return path, rest


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool; ``-h`` behind its name shows mmdet's own help."""
    parser = argparse.ArgumentParser(
        description='Run a tool of mmdet on a config of RF-DETR'
    )
    parser.add_argument('tool', choices=TOOLS, help='its name in mmdet')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help="those of mmdet's tool"
    )
    args = parser.parse_args(argv)
    script, given = script_of(args.tool), args.arguments
    with tempfile.TemporaryDirectory() as folder:
        if TOOLS[args.tool][1] and given and not given[0].startswith('-'):
            with input_errors_in_one_line():
                path, rest = complete_config(given[0], given[1:], Path(folder))
            given = [str(path), *rest]
        # What get_flops counts by; it does not know fused attention.
        complexity_analysis._DEFAULT_SUPPORTED_FLOP_OPS.setdefault(
            'aten::scaled_dot_product_attention', attention_products
        )
        before = sys.argv
        sys.argv = [str(script), *given]
        try:
            runpy.run_path(str(script), run_name='__main__')
        finally:
            sys.argv = before


if __name__ == '__main__':
    main()

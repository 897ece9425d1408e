"""Show sizes, weights, versions and this machine, or what a checkpoint is.

Without a file nothing is imported that takes long: GPUs are those that the
NVIDIA driver lists. --torch asks torch instead, which takes seconds.

Examples:
  rfdetr-mm info
  rfdetr-mm info best.pth
  rfdetr-mm info --torch --json
"""

import argparse
import json
import os
import platform
import runpy
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from rfdetr_mm_light.errors import UsageError
from rfdetr_mm_light.published_files import cache_dir
from rfdetr_mm_light.shipped_files import PACKAGE
from rfdetr_mm_light.sizes import SEGMENTATION, SIZES
from rfdetr_mm_light.stack import DISTRIBUTIONS, version_of
from rfdetr_mm_light.version import __version__

# Distributions; the first installed one of each row is shown.
_PACKAGES = (
    ('torch',),
    ('torchvision',),
    *DISTRIBUTIONS.values(),
    ('numpy',),
    ('supervision',),
    ('roboflow',),
    ('gradio',),
    ('mmdeploy',),
    ('onnx',),
    ('onnxruntime',),
    ('openvino',),
    ('litert-torch',),
    ('tensorrt',),
    ('peft',),
)
_DRIVER_SECONDS = 10  # a GPU that sleeps takes a second or two to answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('checkpoint', nargs='?', help='a file to look into')
    parser.add_argument(
        '--json', action='store_true', help='print a JSON object instead'
    )
    parser.add_argument(
        '--torch',
        action='store_true',
        help='import torch and show the threads and GPUs that it sees',
    )


def run(args: argparse.Namespace) -> None:
    """Show it.

    Raises:
        UsageError: If options exclude each other.
    """
    if args.checkpoint is not None:
        if args.torch:
            raise UsageError('--torch is about this machine, not about a file')
        # It reads weights and therefore imports torch.
        from rfdetr_mm.apis.command_line.info import about_checkpoint

        content = about_checkpoint(args.checkpoint)
        text = '\n'.join(
            f'{k:<12} {"-" if v is None else v}' for k, v in content.items()
        )
    else:
        machine = about_machine()
        if args.torch:
            machine.update(about_torch())
        content = dict(sizes=about_sizes(), **machine)
        text = _text(content)
    print(json.dumps(content) if args.json else text)


def about_sizes() -> list[dict[str, Any]]:
    """A row for each size."""
    return [
        dict(
            size=size.short_name,
            name=size.class_name,
            image_px=size.image_px,
            parameters_m=size.parameters_m,
            masks=size.task is SEGMENTATION,
            weights=size.weights,
            licence=size.licence,
            downloaded=size.is_shipped
            or (cache_dir() / size.weights).is_file(),
        )
        for size in SIZES.values()
    ]


def about_machine() -> dict[str, Any]:
    """Versions, devices and folders, without importing torch.

    Returns:
        ``gpus`` are names, those that the NVIDIA driver lists; ``cuda`` is
        the version that torch was built for, ``threads`` is None.
    """
    versions = {'rfdetr_mm': __version__}
    for names in _PACKAGES:
        found = [name for name in names if version_of(name) is not None]
        name = (found or names)[0]
        versions[name] = version_of(name) or 'not installed'
    return dict(
        versions=versions,
        python=platform.python_version(),
        system=platform.platform(),
        cpus=os.cpu_count(),
        threads=None,
        cuda=_cuda_of_torch(),
        gpus=_gpus_of_driver(),
        package=str(PACKAGE),
        cache=str(cache_dir()),
    )


def about_torch() -> dict[str, Any]:
    """What torch sees of this machine.

    Raises:
        ImportError: If torch is not installed.
    """
    import torch

    gpus = [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        gpus.append('mps')
    return dict(threads=torch.get_num_threads(), gpus=gpus)


def _cuda_of_torch() -> str | None:
    """The CUDA version in torch's own version file; None without CUDA."""
    try:
        path = distribution('torch').locate_file('torch/version.py')
    except PackageNotFoundError:
        return None
    return runpy.run_path(str(path)).get('cuda')


def _gpus_of_driver() -> list[str]:
    """Names of the GPUs that NVIDIA's driver lists, if it is there."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, '--query-gpu=name', '--format=csv,noheader'],
            capture_output=True,
            text=True,
            timeout=_DRIVER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [f'unknown (nvidia-smi took over {_DRIVER_SECONDS} s)']
    if done.returncode:
        reason = ' '.join((done.stdout + done.stderr).split())
        return [f'unknown (nvidia-smi: {reason})']
    return done.stdout.splitlines()


def _text(content: dict[str, Any]) -> str:
    lines = [
        'size              px   params  weights (* is here)         licence'
    ]
    for row in content['sizes']:
        star = '*' if row['downloaded'] else ' '
        lines.append(
            f'{row["size"]:<16} {row["image_px"]:>4} '
            f'{row["parameters_m"]:>7}M  {star}{row["weights"]:<26} '
            f'{row["licence"]}'
        )
    gpus = ', '.join(content['gpus']) or 'none'
    threads = content['threads']
    lines += [
        '',
        f'Python {content["python"]} on {content["system"]}, '
        f'{content["cpus"]} CPUs, '
        + (f'{threads} threads, ' if threads else '')
        + f'CUDA {content["cuda"]}, GPUs: {gpus}',
        f'package {content["package"]}',
        f'weights {content["cache"]}',
        '',
    ]
    lines += [f'{k:<18} {v}' for k, v in content['versions'].items()]
    return '\n'.join(lines)

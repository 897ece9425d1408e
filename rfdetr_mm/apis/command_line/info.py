"""Show sizes, weights, versions and this machine, or what a checkpoint is.

Examples:
  rfdetr-mm info
  rfdetr-mm info best.pth
  rfdetr-mm info --json
"""

import argparse
import importlib.metadata
import json
import os
import platform
from typing import Any

import torch
import yaml

from rfdetr_mm.apis.saved_model import identify, numbers_of_weights
from rfdetr_mm.apis.variants import PACKAGE, Variant
from rfdetr_mm.apis.weights import locate_weights, read_content
from rfdetr_mm.checkpoints import (
    PUBLISHED_FILES,
    SHIPPED_FILES,
    cache_dir,
    read_upstream_layout,
    to_mmdet_checkpoint,
)
from rfdetr_mm.errors import InputError
from rfdetr_mm.stack import DISTRIBUTIONS
from rfdetr_mm.version import __version__

from .options import SIZES, size_name

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
# The model index has what upstream has published.
_TINY = {
    'Image Size (px)': 112,
    'Parameters (M)': 3.62,
    'Licence Of Weights': 'Apache-2.0',
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('checkpoint', nargs='?', help='a file to look into')
    parser.add_argument(
        '--json', action='store_true', help='print a JSON object instead'
    )


def run(args: argparse.Namespace) -> None:
    """Show it."""
    if args.checkpoint is not None:
        content = about_checkpoint(args.checkpoint)
        text = '\n'.join(
            f'{k:<12} {"-" if v is None else v}' for k, v in content.items()
        )
    else:
        content = dict(sizes=about_sizes(), **about_machine())
        text = _text(content)
    print(json.dumps(content) if args.json else text)


def about_sizes() -> list[dict[str, Any]]:
    """A row for each size, from the model index; of Tiny from here."""
    known = _model_index()
    rows = []
    for name, variant in SIZES.items():
        is_shipped = variant.weights in SHIPPED_FILES
        entry = known.get(_index_name(variant), {})
        about = _TINY if is_shipped else entry.get('Metadata', {})
        rows.append(
            dict(
                size=name,
                name=variant.class_name,
                image_px=about.get('Image Size (px)'),
                parameters_m=about.get('Parameters (M)'),
                masks=name.startswith('seg-'),
                weights=variant.weights,
                licence=_TINY['Licence Of Weights']
                if is_shipped
                else PUBLISHED_FILES[variant.weights].licence,
                downloaded=is_shipped
                or (cache_dir() / variant.weights).is_file(),
            )
        )
    return rows


def _index_name(variant: Variant) -> str:
    stem = variant.config.rpartition('/')[2]
    return stem.replace('_custom.py', '_coco')


def _model_index() -> dict[str, dict[str, Any]]:
    """Name to entry of all models of the package's index."""
    entries = {}
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        for path in root.glob('configs/*/metafile.yml'):
            for entry in yaml.safe_load(path.read_text())['Models']:
                entries.setdefault(entry['Name'], entry)
    return entries


def about_machine() -> dict[str, Any]:
    """Versions, devices and folders."""
    versions = {'rfdetr_mm': __version__}
    for names in _PACKAGES:
        found = [name for name in names if _version(name) is not None]
        name = (found or names)[0]
        versions[name] = _version(name) or 'not installed'
    gpus = [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]
    return dict(
        versions=versions,
        python=platform.python_version(),
        system=platform.platform(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        cuda=torch.version.cuda,
        gpus=gpus,
        package=str(PACKAGE),
        cache=str(cache_dir()),
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def about_checkpoint(name: str) -> dict[str, Any]:
    """What a checkpoint is.

    Of a model that is none of the sizes: what the shapes of its weights say.

    Raises:
        InputError: If it cannot be read or is no model of ours.
    """
    path = locate_weights(name, accept_platform_model_license=True)
    content = read_content(path)
    is_upstream = read_upstream_layout(content) is not None
    try:
        ours, report = to_mmdet_checkpoint(content)
    except ValueError as error:
        raise InputError(f'{path}: {error}') from error
    weights = ours.get('state_dict', ours)
    try:
        saved = identify(path, content)
        variant, fields = saved.variant, saved.fields
    except InputError:
        if 'bbox_head.query_embedding' not in weights:
            raise
        variant, fields = None, {}
        if 'backbone.pos_embed' in weights:  # not so with other backbones
            fields = numbers_of_weights(weights)
    meta = (ours.get('meta') or {}).get('dataset_meta') or {}
    classes = list(meta.get('classes') or ())
    return dict(
        file=path,
        written_by='rfdetr' if is_upstream else 'rfdetr_mm',
        size=variant and size_name(variant),
        name=variant and variant.class_name,
        numbers=sum(t.numel() for t in weights.values()),
        epoch=(content.get('meta') or {}).get('epoch'),
        classes=classes,
        saved=fields,
    )


def _text(content: dict[str, Any]) -> str:
    lines = [
        'size              px   params  weights (* is here)         licence'
    ]
    for row in content['sizes']:
        star = '*' if row['downloaded'] else ' '
        lines.append(
            f'{row["size"]:<16} {row["image_px"] or "":>4} '
            f'{row["parameters_m"] or "":>7}M  {star}{row["weights"]:<26} '
            f'{row["licence"]}'
        )
    gpus = ', '.join(content['gpus']) or 'none'
    lines += [
        '',
        f'Python {content["python"]} on {content["system"]}, '
        f'{content["cpus"]} CPUs, {content["threads"]} threads, '
        f'CUDA {content["cuda"]}, GPUs: {gpus}',
        f'package {content["package"]}',
        f'weights {content["cache"]}',
        '',
    ]
    lines += [f'{k:<18} {v}' for k, v in content['versions'].items()]
    return '\n'.join(lines)

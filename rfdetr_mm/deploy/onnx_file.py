"""Writing the ONNX file: exporter, checks, metadata, all or nothing."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import (
    IR,
    get_codebase_config,
    get_dynamic_axes,
    get_input_shape,
    get_ir_config,
)
from mmengine.config import Config
from torch import Tensor

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.errors import InputError

from .detector import DetectorGraph
from .symbolics import MIN_OPSET

STANDARD_DOMAINS = ('', 'ai.onnx')


@FUNCTION_REWRITER.register_rewriter('torch.onnx.export', ir=IR.ONNX)
def export_onnx(
    model: torch.nn.Module, args: Tensor, path: str, **kwargs: Any
) -> None:
    """Export as ``torch.onnx.export`` does; ours checked and complete.

    The exporter that traces is the only one that works within mmdeploy. Of
    :class:`DetectorGraph` the input gets the configured size, the file gets
    metadata and appears only when it is finished.

    Args:
        model: What is exported.
        args: Its input, images of shape (bs, channels, h_px, w_px).
        path: The file.
        **kwargs: More arguments of ``torch.onnx.export``.

    Raises:
        InputError: If the deploy config asks for what the graph cannot do.
    """
    ctx = FUNCTION_REWRITER.get_context()
    if 'dynamo' in inspect.signature(ctx.origin_func).parameters:
        kwargs['dynamo'] = False
    if not isinstance(model, DetectorGraph):
        ctx.origin_func(model, args, path, **kwargs)
        return
    check_axes(ctx.cfg)
    images = example_images(args, ctx.cfg)
    model.eval()
    with torch.no_grad():
        model(images)  # the graph learns its sizes
    with atomic_file(path) as file:
        ctx.origin_func(
            model, (images,), file.name, do_constant_folding=True, **kwargs
        )
        proto = onnx.load(file.name)
        check_operators(proto)
        share_constants(proto.graph)
        add_metadata(proto, metadata(model, tuple(images.shape[-2:])))
        file.seek(0)
        file.truncate()
        file.write(proto.SerializeToString())


def check_axes(deploy_cfg: Config) -> None:
    """Refuse a dynamic height or width, and old operator sets.

    Raises:
        InputError: With the way out.
    """
    axes = get_dynamic_axes(deploy_cfg) or {}
    if any(axis in axes.get('input', {}) for axis in (2, 3)):
        raise InputError(
            'the exported RF-DETR has one image size, as its position table '
            'is resized when it is exported; only the batch can be dynamic. '
            "Remove 'height' and 'width' from onnx_config.dynamic_axes and "
            'set onnx_config.input_shape=(W, H), or use '
            'configs/deploy/*/*_dynamic.py of rfdetr_mm'
        )
    opset = get_ir_config(deploy_cfg).get('opset_version', MIN_OPSET)
    if opset < MIN_OPSET:
        raise InputError(
            f'RF-DETR needs ONNX operator set {MIN_OPSET} or later '
            f'(LayerNormalization, GridSample), got onnx_config.'
            f'opset_version={opset}'
        )


def example_images(args: Tensor | tuple, deploy_cfg: Config) -> Tensor:
    """Random images of the configured batch size, height and width.

    Args:
        args: The images that mmdeploy prepared, shape (bs, channels, h_px,
            w_px).
        deploy_cfg: The deploy config.

    Returns:
        Shape (bs, channels, h_px, w_px).
    """
    images = args[0] if isinstance(args, (tuple, list)) else args
    height, width = images.shape[-2:]
    if get_input_shape(deploy_cfg) is not None:
        width, height = get_input_shape(deploy_cfg)
    batch_size = get_codebase_config(deploy_cfg).get('batch_size', 1)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(
        batch_size, images.shape[1], height, width, generator=generator
    )


def share_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initializers, one for each value, in place."""
    names: dict[tuple, str] = {}
    renamed = {}
    nodes = []
    for node in graph.node:
        if node.op_type != 'Constant':
            nodes.append(node)
            continue
        tensor = node.attribute[0].t
        name = node.output[0]
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        renamed[name] = names.setdefault(key, name)
        if renamed[name] == name:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = name
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)


def check_operators(proto: onnx.ModelProto) -> None:
    """Make sure that any ONNX runtime has all operators.

    Raises:
        RuntimeError: If there is one of another domain.
    """
    others = {
        f'{node.domain}::{node.op_type}'
        for node in proto.graph.node
        if node.domain not in STANDARD_DOMAINS
    }
    if others:
        raise RuntimeError(
            f'the graph has operators that are not standard: {sorted(others)}'
        )


def metadata(model: DetectorGraph, size_px: tuple[int, int]) -> dict[str, str]:
    """What a user of the file needs to know.

    Args:
        model: The exported graph, with ``facts`` if it was built by our
            task processor.
        size_px: (h, w) of the images.

    Returns:
        Names to texts; values that are not texts are JSON.
    """
    facts = {
        'resolution': list(size_px),
        'layout': model.layout,
        **model.facts,
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
    }


def add_metadata(proto: onnx.ModelProto, texts: Mapping[str, str]) -> None:
    """Put texts into a model's metadata, replacing those of equal names."""
    known = {prop.key: prop.value for prop in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**known, **texts})

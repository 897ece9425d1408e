"""Two graphs with a selection between them are the whole graph."""

import pytest
import torch
from mmdeploy.core import RewriterContext, patch_model
from mmdeploy.utils import IR
from small_export import HW, build, config, images

from rfdetr_mm.deploy.export import deploy_config
from rfdetr_mm.deploy.ncnn.graphs import (
    DetectionsGraph,
    ProposalsGraph,
    check_graph,
)
from rfdetr_mm.deploy.rewriting import one_search
from rfdetr_mm.errors import InputError


def whole_graph(seg, cfg, hw=HW):
    """The graph for any backend, which has learned its sizes."""
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg], 'ncnn', layout='raw'
    )
    names = dict(backend='ncnn', ir=IR.TORCHSCRIPT)
    with one_search(), RewriterContext(deploy_cfg, **names):
        graph = patch_model(build(cfg), cfg=deploy_cfg, **names).eval()
    with torch.no_grad():
        graph(images(1, hw))
    return graph


def two_levels(cfg):
    cfg.model.neck.scale_factors = (2.0, 0.5)
    cfg.model.bbox_head.decoder.num_levels = 2


def no_windows(cfg):
    cfg.model.backbone.num_windows = 1


def registers(cfg):
    cfg.model.backbone.num_registers = 2


def border_cells(cfg):
    """A grid so fine that the outermost cells are no proposals."""
    cfg.model.neck.scale_factors = (2.0,)


@pytest.mark.parametrize(
    'seg, change, hw',
    [
        (False, None, HW),
        (True, None, HW[::-1]),
        (True, two_levels, HW),
        (False, no_windows, HW[::-1]),
        (False, registers, HW),
        (False, border_cells, HW),
    ],
)
@torch.no_grad()
def test_they_are_the_whole_graph(seg, change, hw):
    cfg = config(seg)
    if change is not None:
        change(cfg)
    graph, x = whole_graph(seg, cfg, hw), images(1, hw, seed=2)
    scores, tokens, boxes = ProposalsGraph(graph)(x)
    count = graph.bbox_head.num_selected
    best = scores[0].argsort(descending=True, stable=True)[:count]
    outputs = DetectionsGraph(graph)(tokens, boxes[:, best])
    wanted = graph(x)
    assert len(outputs) == len(wanted) == 2 + seg
    for given, expected in zip(outputs, wanted):
        torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)
    # Other queries must not pass.
    others = DetectionsGraph(graph)(tokens, boxes[:, best.flip(0)])
    assert (others[0] - wanted[0]).abs().max() > 1e-3


def test_what_they_are_not_made_for():
    cfg = config()
    cfg.model.test_cfg.num_layers = 0
    with pytest.raises(InputError, match='without decoder layers'):
        check_graph(whole_graph(False, cfg), images())
    graph = whole_graph(False, config())
    with pytest.raises(InputError, match='one image at a time, .*size=2: '):
        check_graph(graph, images(2))
    graph.bbox_head.task = 'keypoints'
    with pytest.raises(InputError, match='with keypoints .* take ONNX'):
        check_graph(graph, images())
    graph.backbone_only = True
    with pytest.raises(InputError, match='got backbone_only=True'):
        check_graph(graph, images())

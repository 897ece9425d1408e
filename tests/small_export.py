"""Small detectors and their exports, for the tests of this folder."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.deploy.task import HEADS

CONFIGS = Path(__file__).parents[1] / 'configs'
NUM_CLASSES = 3
NUM_QUERIES = 7
NUM_KEYPOINTS = (3, 0, 2)  # of the classes
CLASSES = ('cat', 'dog', 'emu')
HW = (64, 96)


def config(seg=False, pose=False, **backbone):
    """Two blocks and two decoder layers on rectangles, windows of 16 px."""
    family = 'rfdetr_seg/rfdetr-seg_small' if seg else 'rfdetr/rfdetr_nano'
    if pose:
        family = 'rfdetr_pose/rfdetr-pose_preview'
    cfg = Config.fromfile(CONFIGS / f'{family}_coco.py')
    model = cfg.model
    model.backbone.update(
        arch='tiny',
        img_size=64,
        patch_size=16,
        num_windows=2,
        out_indices=(0, 1),
        global_attn_indices=(1,),
    )
    model.backbone.update(backbone)
    model.neck.update(
        in_channels=[192] * 2, out_channels=32, num_bottlenecks=1
    )
    model.bbox_head.update(
        num_classes=NUM_CLASSES,
        num_queries=NUM_QUERIES,
        num_groups=2,
        embed_dims=32,
    )
    if pose:
        model.bbox_head.num_keypoints = NUM_KEYPOINTS
    if seg:
        model.bbox_head.mask_upsample_ratio = 4.0
    model.bbox_head.decoder.update(num_layers=2, feedforward_channels=16)
    model.test_cfg.max_per_img = 10
    cfg.test_dataloader.dataset.metainfo = dict(classes=CLASSES)
    return cfg


def build(cfg, seed=0, std=0.1):
    """The model of a config with random, perturbed weights."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return model.eval()


def save(model, path, classes=CLASSES):
    """Write a checkpoint as a training does."""
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def export_to(folder, cfg, model, *, input_size=HW, **options):
    """Export a model for ONNX Runtime by the shipped configs."""
    task = HEADS[cfg.model.bbox_head.type][0]
    checkpoint = save(model, folder / 'weights.pth')
    deploy_cfg = deploy_config(
        task, 'onnxruntime', input_size=input_size, **options
    )
    (file,) = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    return file, deploy_cfg


def images(bs=1, hw=HW, seed=1):
    """Normalised images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(bs, 3, *hw, generator=generator)


def run(file, x):
    """Outputs of an ONNX file by name."""
    session = onnxruntime.InferenceSession(
        str(file), providers=['CPUExecutionProvider']
    )
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {'input': np.ascontiguousarray(x.numpy())})
    return dict(zip(names, outputs))


@torch.no_grad()
def predict(model, x, ori_shape=None, scale_factor=(1.0, 1.0)):
    """Detections of the PyTorch model for normalised images."""
    hw = tuple(x.shape[-2:])
    samples = [
        DetDataSample(
            metainfo=dict(
                img_shape=hw,
                batch_input_shape=hw,
                ori_shape=ori_shape or hw,
                scale_factor=scale_factor,
            )
        )
        for _ in x
    ]
    return [s.pred_instances for s in model.predict(x, samples)]

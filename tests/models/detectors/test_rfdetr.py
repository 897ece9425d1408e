import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData

from rfdetr_mm.errors import InputError

CONFIG = 'configs/rfdetr/rfdetr_nano_coco.py'
SEG_CONFIG = 'configs/rfdetr_seg/rfdetr-seg_nano_coco.py'


def build(request, name=CONFIG, **head):
    config = Config.fromfile(request.config.rootpath / name).model
    config.backbone.img_size = 4 * config.backbone.patch_size
    config.bbox_head.update(num_classes=3, num_queries=5, num_groups=2, **head)
    torch.manual_seed(0)
    return MODELS.build(config)


@pytest.fixture(scope='module')
def model(request):
    return build(request)


@pytest.fixture(scope='module')
def seg_model(request):
    return build(request, SEG_CONFIG)


def test_is_what_the_config_says(model):
    assert type(model).__name__ == 'RFDETR'
    assert model.with_neck and model.with_bbox


def test_modes_of_mmdet(model):
    model.eval()
    batch = dict(
        inputs=[torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)] * 2,
        data_samples=[],
    )
    for _ in range(2):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(64, 96),
                ori_shape=(128, 192),
                scale_factor=(0.5, 0.5),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 5, 40, 60]]), labels=torch.tensor([1])
        )
        batch['data_samples'].append(sample)
    data = model.data_preprocessor(batch)
    cls_scores, bbox_preds = model(**data, mode='tensor')
    assert cls_scores.shape == (2, 2, 5, 3)
    assert bbox_preds.shape == (2, 2, 5, 4)
    losses = model(**data, mode='loss')
    assert losses['loss_cls'].requires_grad
    results = model(**data, mode='predict')
    boxes = results[0].pred_instances.bboxes
    assert boxes.shape[1] == 4
    assert (boxes[:, 2] <= 192).all() and (boxes[:, 3] <= 128).all()


def test_modes_with_masks(seg_model):
    """Masks are padded with the images; results have the images' sizes."""
    seg_model.eval()
    batch = dict(inputs=[], data_samples=[])
    for height, width in ((48, 60), (40, 50)):
        image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
        batch['inputs'].append(image)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(height, width),
                ori_shape=(2 * height, 3 * width),
                scale_factor=(1 / 3, 0.5),
            )
        )
        masks = np.zeros((1, height, width), np.uint8)
        masks[0, 10:30, 5:40] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[5.0, 10, 40, 30]]),
            labels=torch.tensor([1]),
            masks=BitmapMasks(masks, height, width),
        )
        batch['data_samples'].append(sample)
    data = seg_model.data_preprocessor(batch, training=True)
    shapes = [s.gt_instances.masks.masks.shape for s in data['data_samples']]
    assert shapes == [(1, 48, 60)] * 2
    mask_preds = seg_model(**data, mode='tensor')[2]
    assert mask_preds.shape == (4, 2, 5, 12, 15)
    losses = seg_model(**data, mode='loss')
    assert losses['loss_mask'].requires_grad and losses['loss_dice'] > 0
    results = seg_model(**data, mode='predict')
    for result, size in zip(results, ((96, 180), (80, 150))):
        masks = result.pred_instances.masks
        assert masks.dtype == torch.bool and masks.shape == (15, *size)


@pytest.mark.parametrize('load', ['mmengine', 'torch'])
def test_detection_and_segmentation_refuse_each_other(model, seg_model, load):
    """By their sizes; -v says the tasks."""
    for ours, theirs, size, task in (
        (model, seg_model, 'rfdetr-seg-', 'an instance segmentation'),
        (seg_model, model, 'rfdetr-nano', 'a detection'),
    ):
        before = {k: v.clone() for k, v in ours.state_dict().items()}
        with pytest.raises(InputError, match=f'this file is {size}') as caught:
            if load == 'mmengine':
                load_state_dict(ours, theirs.state_dict())
            else:
                ours.load_state_dict(theirs.state_dict())
        assert f'checkpoint is of {task} model' in caught.value.details
        after = ours.state_dict()
        assert all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize('load', ['mmengine', 'torch'])
@pytest.mark.parametrize(
    'change, words',
    [
        (
            lambda s: s.pop('neck.norms.0.weight'),
            ['missing from the checkpoint: neck.norms.0.weight'],
        ),
        (
            lambda s: s.update(
                {'bbox_head.mask_branch.weight': torch.ones(2)}
            ),
            [
                'an instance segmentation model',
                'this is a detection model; nothing was loaded',
            ],
        ),
        (
            lambda s: s.update({'bbox_head.extra': torch.ones(2)}),
            ['unknown to the model: bbox_head.extra'],
        ),
        (
            lambda s: s.update({'neck.norms.0.bias': torch.ones(3)}),
            ['other shape: neck.norms.0.bias is (3,)', '(256,) in the model'],
        ),
        (
            lambda s: s.update(
                {'backbone.patch_embed.weight': torch.ones(384, 3, 14, 14)}
            ),
            ['patches of 14 px', 'patch_size=16', '14 * 2 = 28'],
        ),
        (
            lambda s: s.update(
                {'bbox_head.cls_branch.weight': torch.ones(91, 256)}
            ),
            ['91 classes', 'num_classes=3', 'ClassRowsHook'],
        ),
    ],
)
def test_misfit_is_refused_before_anything_is_loaded(
    model, load, change, words
):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state_dict = {k: v + 1 for k, v in model.state_dict().items()}
    change(state_dict)
    with pytest.raises(ValueError) as error:
        if load == 'mmengine':
            load_state_dict(model, state_dict)
        else:
            model.load_state_dict(state_dict)
    for word in words:
        assert word in str(error.value)
    after = model.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_long_list_of_misfits_is_cut(model):
    state_dict = {
        k: v for k, v in model.state_dict().items() if 'backbone' not in k
    }
    with pytest.raises(ValueError, match=r'\.\.\. and \d+ more'):
        model.load_state_dict(state_dict)


def test_loading_does_not_change_the_given_state_dict(request, model):
    smaller = build(request)
    smaller.bbox_head.num_groups = 2
    state_dict = model.state_dict()
    shapes = {k: v.shape for k, v in state_dict.items()}
    load_state_dict(smaller, state_dict)
    assert {k: v.shape for k, v in state_dict.items()} == shapes


def deeper(request):
    """As Small is: three decoder layers."""
    return build(
        request,
        decoder=dict(
            num_layers=3,
            num_levels=1,
            self_attn_num_heads=8,
            cross_attn_num_heads=16,
            num_points=2,
            feedforward_channels=2048,
        ),
    )


def test_another_size_is_named(request, model, seg_model):
    """Nano and Small; what the list of keys says is below."""
    small = deeper(request)
    for ours, theirs, message in (
        (
            model,
            small,
            r'this file is rfdetr-small \(64 px, 3 classes\), the model is '
            r'rfdetr-nano \(64 px, 3 classes\); nothing was loaded.*config of '
            r'small \(rfdetr/rfdetr_small_custom.py; --model small.*RFDETRSm',
        ),
        (
            small,
            model,
            'this file is rfdetr-nano.*, the model is rfdetr-small',
        ),
    ):
        with pytest.raises(InputError, match=message) as caught:
            ours.load_state_dict(theirs.state_dict())
        assert 'decoder.layers' not in str(caught.value)
        assert 'decoder.layers.2' in caught.value.details


def test_the_native_size_and_one_class(request, model):
    config = Config.fromfile(request.config.rootpath / CONFIG).model
    config.bbox_head.update(num_classes=1, num_queries=5, num_groups=2)
    nano = MODELS.build(config)
    with pytest.raises(InputError, match=r'rfdetr-nano \(384 px, 1 class\)'):
        deeper(request).load_state_dict(nano.state_dict())


def test_a_model_of_no_size_is_described(request, model):
    own = build(
        request,
        decoder=dict(
            num_layers=1,
            num_levels=1,
            self_attn_num_heads=8,
            cross_attn_num_heads=16,
            num_points=2,
            feedforward_channels=2048,
        ),
    )
    message = (
        r'this file is rfdetr-nano .*, the model is none of the sizes \(64 px,'
        ' 3 classes, patches of 16 px, width 256, decoder layers: 1'
    )
    with pytest.raises(InputError, match=message):
        own.load_state_dict(model.state_dict())
    # Then the keys are all that can be said.
    with pytest.raises(InputError, match='unknown to|missing from'):
        model.load_state_dict(own.state_dict())

"""What a comparison changes about a variant reaches both sides; masks."""

import pytest
import torch
from mmengine.config import Config

# As few cells as queries; H and W are one number here.
CHANGED = dict(size=96, classes=5, queries=36, objects=3)


@pytest.fixture(scope='module')
def sides():
    import sides

    return sides


def test_our_config_is_changed_everywhere(sides):
    from upstream import Dimensions

    from rfdetr_mm.sizes.config_facts import image_size

    cfg = Config.fromfile(sides.config_file('nano'))
    sides._change(cfg, Dimensions(**CHANGED))
    assert image_size(cfg) == (96, 96)
    assert cfg.model.backbone.img_size == 96
    head = cfg.model.bbox_head
    assert (head.num_classes, head.num_queries) == (5, 36)
    assert cfg.model.test_cfg.max_per_img == 36


def test_a_side_that_windows_do_not_fill(sides):
    from upstream import Dimensions

    from rfdetr_mm.errors import InputError

    with pytest.raises(InputError, match='90'):
        sides.Ours('nano', dimensions=Dimensions(size=90))


def test_fields_of_rfdetr():
    pytest.importorskip('rfdetr')
    from upstream import Dimensions, model_config

    config = model_config('nano', **Dimensions(**CHANGED).fields())
    assert config.resolution == 96 and config.positional_encoding_size == 6
    assert config.num_queries == config.num_select == 36
    assert config.num_classes == 5
    assert Dimensions().fields() == {}


@pytest.mark.parametrize('count', [0, 3])
def test_objects_of_changed_classes(sides, count):
    found = sides.objects_of(2, count, count, 'nano', classes=2)
    assert [len(labels) for _, labels in found] == [count] * 2
    assert all((labels < 2).all() for _, labels in found)


def test_masks_fill_their_boxes(sides):
    ((boxes, _, masks),) = sides.objects_of(1, 4, 4, 'seg-nano', size=120)
    assert masks.dtype == torch.bool and masks.shape == (4, 120, 120)
    for (cx, cy, w, h), mask in zip(boxes * 120, masks):
        rows, columns = mask.nonzero().T
        assert float(columns.min()) == pytest.approx(cx - w / 2, abs=2)
        assert float(columns.max()) == pytest.approx(cx + w / 2, abs=2)
        assert float(rows.min()) == pytest.approx(cy - h / 2, abs=2)
        assert float(rows.max()) == pytest.approx(cy + h / 2, abs=2)


@pytest.mark.parametrize(
    'variant, name',
    [
        ('nano', 'rfdetr/rfdetr_nano_coco.py'),
        ('seg-nano', 'rfdetr_seg/rfdetr-seg_nano_coco.py'),
        ('keypoint-preview', 'rfdetr_pose/rfdetr-pose_preview_coco.py'),
    ],
)
def test_configs(sides, variant, name):
    path = sides.config_file(variant)
    assert path.as_posix().endswith('configs/' + name) and path.is_file()


@pytest.mark.parity
def test_both_sides_as_changed_have_the_same_loss(sides, tmp_path):
    pytest.importorskip('rfdetr')
    from upstream import Dimensions

    changed = dict(dimensions=Dimensions(**CHANGED))
    upstream = sides.Upstream('nano', **changed)
    upstream.save(tmp_path / 'w.pth')
    ours = sides.Ours('nano', tmp_path / 'w.pth', **changed)
    losses = [float(side.train_step(1)()) for side in (ours, upstream)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert ours.outputs(torch.rand(1, 3, 96, 96))[0].shape == (1, 468, 5)

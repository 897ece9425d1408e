"""One optimiser step on the same image files with the same weights.

Of a detector, one with masks and one with keypoints: files to tensors,
losses, clipping and AdamW, each side with its own code, in float64.
The images are generated; for the detector RFDETR_MM_COCO=DIR with
DIR/train.json and DIR/images takes real ones.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import gradient_errors
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from oracle import (
    Pair,
    build_upstream,
    config_file,
    convert,
    nested,
    our_config,
    upstream_config,
)
from PIL import Image
from train_step import (
    SEED,
    expected_names,
    in_float64,
    upstream_criterion,
    upstream_train_config,
)

from tests.data_factory import CLASSES, edit_json, write_coco

pytestmark = pytest.mark.parity

NUM_IMAGES = 4
NUM_QUERIES = 20
NUM_KEYPOINTS = (3, 5)  # of the classes


@dataclass(frozen=True)
class Case:
    """A model and how its annotations are loaded and packed."""

    variant: str
    input_hw: tuple[int, int]
    load: dict
    pack: str = 'PackDetInputs'


CASES = (
    Case('nano', (64, 96), dict(type='LoadAnnotations', with_bbox=True)),
    Case(
        'seg-nano',
        (48, 60),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ),
    Case(
        'pose-preview',
        (48, 96),
        dict(type='LoadPoseAnnotations', with_bbox=True),
        'PackPoseInputs',
    ),
)


def add_outlines_and_keypoints(content: dict) -> None:
    """Some keypoints are hidden or not labelled, in one object all."""
    rng = np.random.default_rng(1)
    counts = dict(zip((7, 3), NUM_KEYPOINTS))
    for category in content['categories']:
        count = counts[category['id']]
        category['keypoints'] = [f'point {i}' for i in range(count)]
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [
            [x, y, x + w, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h]
        ]
        count = counts[annotation['category_id']]
        points = np.concatenate(
            [
                rng.uniform((x, y), (x + w - 1, y + h - 1), (count, 2)),
                rng.integers(0, 3, (count, 1)),
            ],
            axis=1,
        )
        points *= points[:, 2:] > 0
        annotation['keypoints'] = points.flatten().tolist()
    content['annotations'][-1]['keypoints'] = [0] * 3 * count


@pytest.fixture(scope='module', params=CASES, ids=lambda case: case.variant)
def case(request):
    return request.param


@pytest.fixture(scope='module')
def data(case, tmp_path_factory):
    """(annotation file, image folder, class names, input (h, w))."""
    given = os.environ.get('RFDETR_MM_COCO')
    if given:
        if case.variant != 'nano':
            pytest.skip('RFDETR_MM_COCO has boxes alone')
        annotations = Path(given, 'train.json').resolve()
        images = Path(given, 'images').resolve()
        size = (192, 192)
    else:
        root = write_coco(
            tmp_path_factory.mktemp('data'),
            [(60, 90), (90, 60), (64, 64), (50, 120)],
            empty=(1,),
        )
        annotations, images = root / 'annotations.json', root / 'images'
        edit_json(annotations, add_outlines_and_keypoints)
        size = case.input_hw
    names = [
        c['name'] for c in json.loads(annotations.read_text())['categories']
    ]
    assert given or names == list(CLASSES)
    return annotations, images, names, size


def our_batch(case, model, data):
    """The first images through our pipeline and data preprocessor."""
    annotations, images, names, (height, width) = data
    dataset = DATASETS.build(
        dict(
            type='NamedCocoDataset',
            ann_file=str(annotations),
            data_prefix=dict(img=str(images)),
            metainfo=dict(classes=names),
            pipeline=[
                dict(
                    type='LoadImageFromFile',
                    imdecode_backend='pillow',
                    color_type='color_ignore_orientation',
                ),
                case.load,
                dict(type='RFDETRResize', scale=(width, height)),
                dict(type=case.pack),
            ],
        )
    )
    items = [dataset[i] for i in range(NUM_IMAGES)]
    batch = model.data_preprocessor(pseudo_collate(items), training=True)
    for sample in batch['data_samples']:
        instances = sample.gt_instances
        instances.bboxes = instances.bboxes.double()
        if 'keypoints' in instances:
            instances.keypoints = instances.keypoints.double()
    return dict(batch, inputs=batch['inputs'].double())


def their_batch(case, data):
    """The same images and objects, as upstream prepares them."""
    from rfdetr.datasets._torchvision import Resize
    from rfdetr.datasets.coco import ConvertCoco
    from rfdetr.datasets.transforms import Normalize
    from torchvision.transforms.v2.functional import to_dtype, to_image

    annotations, images, names, size = data
    content = json.loads(annotations.read_text())
    convert_coco = ConvertCoco(
        include_masks=case.variant == 'seg-nano',
        include_keypoints=case.variant == 'pose-preview',
        cat2label={
            c['id']: names.index(c['name']) for c in content['categories']
        },
        num_keypoints_per_class=list(NUM_KEYPOINTS),
    )
    resize, normalize = Resize(size), Normalize()
    tensors, targets = [], []
    for entry in content['images'][:NUM_IMAGES]:
        objects = [
            a for a in content['annotations'] if a['image_id'] == entry['id']
        ]
        picture, target = convert_coco(
            Image.open(images / entry['file_name']).convert('RGB'),
            dict(image_id=entry['id'], annotations=objects),
        )
        picture, target = resize(picture, target)
        pixels = to_dtype(to_image(picture), torch.float32, scale=True)
        pixels, target = normalize(pixels, target)
        tensors.append(pixels)
        for name in {'boxes', 'keypoints'} & set(target):
            target[name] = target[name].double()
        targets.append(target)
    return torch.stack(tensors).double(), targets


def build_case(case, num_classes) -> Pair:
    counts = {}
    ours = our_config(case.variant, num_classes, NUM_QUERIES)
    if case.variant == 'pose-preview':
        ours.bbox_head.num_keypoints = NUM_KEYPOINTS
        counts['num_keypoints_per_class'] = list(NUM_KEYPOINTS)
    config = upstream_config(case.variant, num_classes, NUM_QUERIES, **counts)
    upstream = build_upstream(config)
    model = MODELS.build(ours)
    model.load_state_dict(convert(upstream.state_dict()))
    return Pair(upstream, model, config, case.input_hw).train(True)


@pytest.fixture(scope='module')
def step(case, data):
    pair = build_case(case, len(data[2]))
    images, targets = their_batch(case, data)
    batch = our_batch(case, pair.ours, data)
    with in_float64(pair):
        before = {k: v.clone() for k, v in pair.ours.state_dict().items()}
        # Our images for both: what the two ways of rounding differ by would
        # make other points of the masks the most uncertain ones.
        theirs = upstream_step(pair, batch['inputs'], targets)
        mine = our_step(pair, case, batch)
        yield dict(
            pair=pair,
            before=before,
            theirs=theirs,
            mine=mine,
            images=(batch['inputs'], images),
        )


def gradients(model):
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def upstream_step(pair, images, targets):
    from rfdetr._namespace import _namespace_from_configs
    from rfdetr.training.param_groups import get_param_dict

    criterion, train_config = (
        upstream_criterion(pair),
        upstream_train_config(pair),
    )
    outputs = pair.upstream(nested(images))
    torch.manual_seed(SEED)
    losses = criterion(outputs, targets)
    weights = criterion.weight_dict
    terms = {k: losses[k] * weights[k] for k in losses if k in weights}
    args = _namespace_from_configs(pair.upstream_config, train_config)
    optimizer = torch.optim.AdamW(
        get_param_dict(args, pair.upstream),
        lr=train_config.lr,
        weight_decay=train_config.weight_decay,
    )
    sum(terms.values()).backward()
    grads = gradients(pair.upstream)
    torch.nn.utils.clip_grad_norm_(
        pair.upstream.parameters(), train_config.clip_max_norm
    )
    optimizer.step()
    return dict(
        terms={k: v.item() for k, v in terms.items()},
        grads=convert({**pair.upstream.state_dict(), **grads}),
        weights=convert(pair.upstream.state_dict()),
    )


def our_step(pair, case, batch):
    """With the optimizer of the shipped config."""
    wrapper = build_optim_wrapper(
        pair.ours, Config.fromfile(config_file(case.variant)).optim_wrapper
    )
    torch.manual_seed(SEED)
    losses = pair.ours(**batch, mode='loss')
    total, log = pair.ours.parse_losses(losses)
    wrapper.zero_grad()
    wrapper.backward(total)
    grads = gradients(pair.ours)
    wrapper.step()
    return dict(
        total=total.item(),
        grads=grads,
        terms={k: v.item() for k, v in log.items() if k != 'loss'},
        weights=pair.ours.state_dict(),
    )


def test_inputs(step):
    mine, theirs = step['images']
    torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0)


def test_loss_terms(step):
    mine, theirs = step['mine']['terms'], step['theirs']['terms']
    names = expected_names(step['pair'].ours.bbox_head)
    assert set(names.values()) == set(theirs)
    for ours, upstream in names.items():
        print(ours, mine[ours], theirs[upstream])
        assert mine[ours] == pytest.approx(theirs[upstream], rel=1e-5)
        assert mine[ours] != 0
    assert step['mine']['total'] == pytest.approx(
        sum(theirs.values()), rel=1e-5
    )


def test_gradients(step):
    mine, theirs = step['mine']['grads'], step['theirs']['grads']
    errors = gradient_errors(mine, {k: theirs[k] for k in mine})
    worst = max(errors, key=errors.get)
    print('worst gradient', worst, errors[worst])
    assert errors[worst] <= 1e-5, (worst, errors[worst])


def movement(step, side, decay=1.0):
    """All weights' movement; the backbone's times ``decay``."""
    return torch.cat(
        [
            (step[side]['weights'][name] - value).flatten()
            * (decay if name.startswith('backbone') else 1.0)
            for name, value in step['before'].items()
            if value.is_floating_point()
        ]
    )


def test_updated_weights(step):
    """AdamW's first step is lr * sign: compare the whole movement."""
    theirs = movement(step, 'theirs')

    def error(mine):
        return ((mine - theirs).norm() / theirs.norm()).item()

    print('relative difference of the movement', error(movement(step, 'mine')))
    assert error(movement(step, 'mine')) < 1e-3
    # the negative control: one layer decay too much shows
    assert error(movement(step, 'mine', decay=0.8)) > 1e-3

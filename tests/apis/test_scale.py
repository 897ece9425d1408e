"""Checkpoints in Ray's workers: the same as predict(), to the bit."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from ray_session import ray_here  # noqa: F401

from rfdetr_mm.apis import RFDETRNano, RFDETRSegNano, from_checkpoint
from rfdetr_mm.apis.scale import CheckpointLoader
from rfdetr_mm.checkpoints import SHIPPED_FILES
from rfdetr_runtime import InputError
from rfdetr_runtime.scale import predict_on_ray
from rfdetr_runtime.scale.models import LateResizing
from rfdetr_runtime.scale.pipeline import Decode, Detect
from rfdetr_runtime.scale.results import write_entries
from rfdetr_runtime.scale.sources import list_entries

CLASSES = ('disc', 'square')
# Some have more bytes than the network's input of 64 x 64 px in float32.
SIZES = [(60, 90), (190, 120), (90, 60), (50, 50), (300, 200)]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for number, hw in enumerate(SIZES):
        pixels = rng.integers(0, 256, (*hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    (folder / '1x.png').write_bytes(b'broken')
    return folder


@pytest.fixture(scope='module', params=['boxes', 'masks'])
def checkpoint(request, tmp_path_factory):
    torch.manual_seed(0)
    seg = request.param == 'masks'
    model = (RFDETRSegNano if seg else RFDETRNano)(
        pretrain_weights=None,
        num_classes=2,
        resolution=48 if seg else 64,
        num_queries=8,
        num_select=8,
        group_detr=2,
        device='cpu',
    )
    for parameter in model.model.model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    meta = dict(
        cfg=model.model.cfg.pretty_text, dataset_meta=dict(classes=CLASSES)
    )
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    weights = model.model.model.state_dict()
    torch.save(dict(state_dict=weights, meta=meta), path)
    return str(path)


def readable(photos):
    return [p for p in sorted(photos.glob('*.png')) if p.name != '1x.png']


def check_rows(rows, wanted):
    rows = [row for row in rows if row['error'] is None]
    assert len(rows) == len(wanted)
    for row, found in zip(rows, wanted):
        detections = row['detections']
        assert len(detections) == len(found) > 0
        assert [d['score'] for d in detections] == found.confidence.tolist()
        boxes = [d['bbox_xyxy_px'] for d in detections]
        assert boxes == found.xyxy.tolist()
        assert [d['class_name'] for d in detections] == list(
            found.data['class_name']
        )
        has_masks = [d['segmentation'] is not None for d in detections]
        assert has_masks == [found.mask is not None] * len(found)


def test_as_predict_does(checkpoint, photos, tmp_path):
    """One batch of all, and its broken image left out."""
    write_entries(list_entries([str(photos)]), tmp_path / 'e.parquet')
    table = pq.read_table(tmp_path / 'e.parquet')
    loader = CheckpointLoader(checkpoint)
    facts = loader.load(False).facts
    assert facts.class_names == CLASSES and facts.name == 'tiny.pth'
    assert isinstance(facts.prepare, LateResizing)
    decoded = pa.concat_tables(Decode(facts.prepare, 6)(table))
    kinds = {i['dtype'] for i in decoded['images'][0].as_py()}
    assert kinds == {'uint8', 'float32', None}  # as it was, resized, broken
    rows = Detect(loader, facts.sha256, False, 0.0, None)(decoded).to_pylist()
    with torch.random.fork_rng():
        torch.set_num_threads(1)
        model = from_checkpoint(checkpoint, device='cpu')
        wanted = model.predict(readable(photos), 0.0)
    check_rows(rows, wanted)
    assert 'cannot be read' in rows[2]['error']


def test_options_of_the_loader(photos, tmp_path):
    (name,) = SHIPPED_FILES
    loader = CheckpointLoader(name, size='tiny', resolution=128)
    assert loader.gpu is None and CheckpointLoader('a', device='cpu').gpu == 0
    assert loader.load(False).facts.input_hw == (128, 128)
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        CheckpointLoader(str(tmp_path / 'gone.pth')).load(False)
    with pytest.raises(InputError, match='lamp'):
        CheckpointLoader(name, size='lamp').load(False)


# Each worker imports mmdet, which takes seconds.
def test_on_ray(checkpoint, photos, tmp_path, ray_here):  # noqa: F811
    pytest.importorskip('ray')
    done = predict_on_ray(
        str(photos),
        tmp_path / 'out',
        CheckpointLoader(checkpoint),
        threshold=0.0,
        batch_size=6,
        num_models=1,
    )
    assert (done.num_images, done.num_errors) == (6, 1)
    (part,) = (tmp_path / 'out').glob('part-*.parquet')
    torch.set_num_threads(1)
    model = from_checkpoint(checkpoint, device='cpu')
    wanted = model.predict(readable(photos), 0.0)
    check_rows(pq.read_table(part).to_pylist(), wanted)

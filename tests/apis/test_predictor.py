"""predict() and its optimised copies, on one small model."""

import sys
import warnings

import numpy as np
import pytest
import torch
from half_precision import FLOAT16_ON_CPU
from PIL import Image

from rfdetr_mm import processor
from rfdetr_mm.apis import RFDETRNano, RFDETRSegNano, from_checkpoint
from rfdetr_mm.apis import predictor as module
from rfdetr_mm.errors import InputError

pytest.importorskip('supervision')

SMALL = dict(
    pretrain_weights=None,
    device='cpu',
    num_queries=9,
    num_select=9,
    group_detr=2,
    dec_layers=1,
    num_classes=3,
)


def make(model_class, **changes):
    """A model that does not give the same score to everything."""
    torch.manual_seed(0)
    model = model_class(**{**SMALL, **changes})
    for parameter in model.model.model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.03)
    model.model.class_names = ['cat', 'dog', 'owl']
    return model


@pytest.fixture(scope='module')
def nano():
    return make(RFDETRNano, resolution=64)


@pytest.fixture(scope='module')
def seg():
    return make(RFDETRSegNano, resolution=48)


@pytest.fixture(autouse=True)
def plain(nano):
    yield
    nano.remove_optimized_model()


def images(count=3):
    rng = np.random.default_rng(1)
    sizes = ((40, 70), (90, 50), (64, 64))  # (h, w)
    return [
        rng.integers(0, 256, (*sizes[i % 3], 3), np.uint8)
        for i in range(count)
    ]


def assert_same(actual, expected, atol=1e-5):
    assert len(actual) == len(expected) > 0
    np.testing.assert_allclose(actual.xyxy, expected.xyxy, atol=1e-3)
    np.testing.assert_allclose(
        actual.confidence, expected.confidence, atol=atol
    )
    assert (actual.class_id == expected.class_id).all()


def test_what_the_results_are(nano):
    image = images()[0]
    found = nano.predict(image, threshold=0.0)
    assert len(found) == 9 and (np.diff(found.confidence) <= 0).all()
    assert found.xyxy.dtype == found.confidence.dtype == np.float32
    assert found.xyxy.min() >= 0 and found.xyxy[:, 2].max() <= 70
    assert found.xyxy[:, 3].max() <= 40
    assert found.class_id.dtype == np.int64 and set(found.class_id) <= {
        0,
        1,
        2,
    }
    names = found.data['class_name']
    assert names.dtype == object
    assert list(names) == [nano.class_names[i] for i in found.class_id]
    shapes = found.data['source_shape']
    assert shapes.dtype == np.int64 and shapes.shape == (9, 2)
    assert (shapes == (40, 70)).all()
    assert (found.metadata['source_image'] == image).all()
    assert found.mask is None
    without = nano.predict(image, include_source_image=False, threshold=0.0)
    assert 'source_image' not in without.metadata


def test_the_threshold_is_left_out(nano):
    """Scores must be greater, not equal."""
    everything = nano.predict(images()[0], threshold=0.0)
    limit = float(everything.confidence[3])
    kept = nano.predict(images()[0], threshold=limit)
    assert len(kept) == (everything.confidence > limit).sum() <= 3
    none = nano.predict(images()[0], threshold=1.0)
    assert len(none) == 0 and none.xyxy.shape == (0, 4)
    assert none.data['source_shape'].shape == (0, 2)
    assert none.data['class_name'].shape == (0,)


def test_lists(nano, tmp_path, monkeypatch):
    arrays = images(5)
    Image.fromarray(arrays[0]).save(tmp_path / 'a.png')
    mixed = [tmp_path / 'a.png', Image.fromarray(arrays[1]), *arrays[2:]]
    alone = [nano.predict(image, threshold=0.0) for image in arrays]
    sizes = []
    detect = module.ModelContext.detect

    def spy(self, loaded, *args):
        sizes.append(len(loaded))
        return detect(self, loaded, *args)

    monkeypatch.setattr(module.ModelContext, 'detect', spy)
    together = nano.predict(mixed, threshold=0.0)
    assert sizes == [5]  # one batch, not one by one
    for found, expected in zip(together, alone):
        assert_same(found, expected)
    monkeypatch.setattr(module, '_MAX_BATCH', 2)
    for found, expected in zip(nano.predict(mixed, threshold=0.0), alone):
        assert_same(found, expected)
    assert sizes == [5, 2, 2, 1]
    (single,) = nano.predict(arrays[:1], threshold=0.0)
    assert_same(single, alone[0])
    assert nano.predict([]) == []


def test_another_shape(nano):
    wide = nano.predict(images()[0], threshold=0.0, shape=(64, 128))
    square = nano.predict(images()[0], threshold=0.0, shape=(64, 64))
    assert_same(square, nano.predict(images()[0], threshold=0.0))
    assert not np.allclose(wide.confidence, square.confidence, atol=1e-4)
    with pytest.raises(InputError, match='multiple of patch_size'):
        nano.predict(images()[0], shape=(60, 64))
    with pytest.raises(InputError, match='patch_size=14'):
        nano.predict(images()[0], patch_size=14)


def test_masks(seg):
    found = seg.predict(images()[:2], threshold=0.0)
    for detections, image in zip(found, images()):
        assert detections.mask.dtype == bool
        assert detections.mask.shape == (9, *image.shape[:2])
    assert 0 < found[0].mask.mean() < 1
    limit = float(found[0].confidence[4])
    kept = seg.predict(images()[0], threshold=limit)
    assert (kept.mask == found[0].mask[: len(kept)]).all()


def test_one_hint_that_there_is_something_faster():
    model = make(RFDETRNano, resolution=32)
    with pytest.warns(UserWarning, match=r'optimize_for_inference\(\)'):
        model.predict(images()[0])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.predict(images()[0])


@pytest.mark.parametrize('batch_size', [1, 2])
@pytest.mark.parametrize('compile', [True, False])
def test_the_optimised_copy_is_the_same_model(nano, compile, batch_size):
    inputs = images()[:batch_size]
    expected = nano.predict(inputs, threshold=0.0)
    before = {k: v.clone() for k, v in nano.model.model.state_dict().items()}
    nano.optimize_for_inference(compile=compile, batch_size=batch_size)
    for _ in range(3):  # TorchScript optimises after the first runs
        for found, image in zip(nano.predict(inputs, threshold=0.0), expected):
            assert_same(found, image)
    nano.remove_optimized_model()
    after = nano.model.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert nano.model.inference_model is None
    nano.remove_optimized_model()  # is safe


def test_optimised_masks(seg):
    expected = seg.predict(images()[0], threshold=0.0)
    seg.optimize_for_inference()
    found = seg.predict(images()[0], threshold=0.0)
    seg.remove_optimized_model()
    assert_same(found, expected)
    assert (found.mask != expected.mask).mean() < 1e-3


@pytest.mark.parametrize('dtype', ['bfloat16', FLOAT16_ON_CPU])
@pytest.mark.parametrize('compile', [True, False])
def test_half_precision(nano, dtype, compile, monkeypatch):
    monkeypatch.setattr(processor, 'has_bf16_units', lambda: True)
    expected = nano.predict(images()[0], threshold=0.0)
    nano.inference(compile=compile, dtype=dtype)
    network = nano.model.inference_model.network
    if not compile:
        assert network.head.cls_branch.weight.element_size() == 2
        assert network.backbone.norm.weight.element_size() == 4
    found = nano.predict(images()[0], threshold=0.0)
    assert nano.model.model.backbone.norm.weight.dtype == torch.float32
    np.testing.assert_allclose(
        np.sort(found.confidence), np.sort(expected.confidence), atol=0.02
    )
    assert (found.confidence != expected.confidence).any()


def test_no_half_precision_without_its_units(nano, monkeypatch):
    monkeypatch.setattr(processor, 'has_bf16_units', lambda: False)
    with pytest.warns(UserWarning, match='no units for bfloat16'):
        nano.inference(compile=False, dtype='bfloat16')
    optimized = nano.model.inference_model
    assert optimized.dtype == torch.float32
    assert optimized.network.head.cls_branch.weight.element_size() == 4


def test_more_images_at_once_than_the_plain_model_takes(nano, monkeypatch):
    monkeypatch.setattr(module, '_MAX_BATCH', 2)
    expected = nano.predict(images(3), threshold=0.0)
    nano.optimize_for_inference(batch_size=3)
    for one, other in zip(nano.predict(images(3), threshold=0.0), expected):
        assert_same(one, other)


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_images_of_other_channels(channels):
    model = make(RFDETRNano, resolution=64, num_channels=channels)
    image = np.concatenate([images(1)[0]] * 2, axis=2)[..., :channels]
    found = model.predict(image, threshold=0.0)
    assert len(found) == 9
    other = model.predict(image // 2, threshold=0.0)
    assert (found.confidence != other.confidence).any()
    with pytest.raises(InputError, match='channels'):
        model.predict(images(1)[0])


def test_what_an_optimised_model_refuses(nano):
    nano.optimize_for_inference(batch_size=2)
    with pytest.raises(InputError, match='for 2 images.*got 1.*remove_op'):
        nano.predict(images()[0])
    with pytest.raises(InputError, match='64 x 64 px, got 64 x 96'):
        nano.predict(images()[:2], shape=(64, 96))
    nano.optimize_for_inference(compile=False, batch_size=2)
    assert len(nano.predict(images())) == 3
    with pytest.raises(InputError, match='Resolution mismatch'):
        nano.predict(images(), shape=(96, 96))


@pytest.mark.parametrize(
    'arguments, error',
    [
        (dict(dtype='half17'), TypeError),
        (dict(dtype=16), TypeError),
        (dict(dtype='int8'), InputError),
        (dict(dtype=torch.float64), InputError),
        (dict(batch_size=0), InputError),
        (dict(compile_backend='tvm'), InputError),
    ],
)
def test_bad_arguments_leave_the_plain_model(nano, arguments, error):
    nano.optimize_for_inference(compile=False)
    with pytest.raises(error):
        nano.optimize_for_inference(**arguments)
    assert nano.model.inference_model is None
    assert len(nano.predict(images()[0], threshold=0.0)) == 9


def test_a_failure_leaves_the_plain_model(nano, monkeypatch):
    nano.optimize_for_inference()
    monkeypatch.setattr(torch.jit, 'trace', lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nano.optimize_for_inference()
    assert nano.model.inference_model is None
    with pytest.raises(InputError, match='inplace'):
        nano.inference(inplace=True)


def test_without_supervision(nano, monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(ImportError, match=r'rfdetr_mm\[apis\]'):
        nano.predict(images()[0])


def test_class_rows_of_other_weights(nano, tmp_path):
    path = tmp_path / 'a.pth'
    meta = dict(dataset_meta=dict(classes=nano.class_names))
    torch.save(dict(state_dict=nano.model.model.state_dict(), meta=meta), path)
    own = {**SMALL, 'pretrain_weights': str(path), 'resolution': 64}
    own.pop('num_classes')
    model = RFDETRNano(**own)
    assert model.class_names == ['cat', 'dog', 'owl']
    assert model.model_config.num_classes == 3
    expected = nano.predict(images()[0], threshold=0.0)
    assert_same(model.predict(images()[0], threshold=0.0), expected)
    with pytest.warns(UserWarning, match='3 classes and num_classes=5'):
        model = RFDETRNano(**own, num_classes=5)
    assert model.class_names == [f'class_{i}' for i in range(5)]
    with pytest.raises(InputError, match='a.pth'):
        RFDETRSegNano(pretrain_weights=str(path))


def test_a_file_of_another_model(tmp_path):
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'a.pth')
    with pytest.raises(InputError, match='holds no RF-DETR detector'):
        RFDETRNano(pretrain_weights=str(tmp_path / 'a.pth'))
    with pytest.raises(FileNotFoundError, match='b.pth'):
        from_checkpoint(tmp_path / 'b.pth')

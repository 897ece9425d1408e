"""predict() beside rfdetr's, on the same weights and images."""

import numpy as np
import pytest
import torch
from PIL import Image

rfdetr = pytest.importorskip('rfdetr')
pytest.importorskip('supervision')

from oracle import class_layers  # noqa: E402
from supervision import KeyPoints  # noqa: E402

from rfdetr_mm.apis import from_checkpoint  # noqa: E402
from rfdetr_runtime import InputError, load  # noqa: E402

NUM_CLASSES, NUM_QUERIES = 7, 12
SIZES = {
    'RFDETRNano': (64, (64, 96)),
    'RFDETRSegNano': (48, (48, 60)),
    'RFDETRKeypointPreview': (48, (48, 72)),
}
KEYPOINTS = [3, 0, 5, 2, 0, 0, 0]


@pytest.fixture(scope='module', params=list(SIZES))
def models(request, tmp_path_factory):
    """Upstream's model and ours, from the file that it would save."""
    torch.set_float32_matmul_precision('highest')
    resolution, shape = SIZES[request.param]
    given = {}
    if 'Keypoint' in request.param:
        given = dict(num_keypoints_per_class=KEYPOINTS)
    upstream = getattr(rfdetr, request.param)(
        **given,
        pretrain_weights=None,
        device='cpu',
        resolution=resolution,
        num_classes=NUM_CLASSES,
        num_queries=NUM_QUERIES,
        num_select=NUM_QUERIES,
    )
    module = upstream.model.model
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for layer in class_layers(module):
            layer.weight.mul_(3)
            layer.weight[-1] = 0.0
            layer.bias[-1] = -20.0
    names = [f'thing {i}' for i in range(NUM_CLASSES)]
    upstream.model.class_names = names
    content = dict(
        model=module.state_dict(),
        args=dict(class_names=names, num_classes=NUM_CLASSES),
        model_name=request.param,
        model_config=upstream.model_config.model_dump(),
    )
    path = tmp_path_factory.mktemp('weights') / 'checkpoint_best_total.pth'
    torch.save(content, path)
    ours = from_checkpoint(path, device='cpu')
    assert type(ours).__name__ == request.param
    assert ours.class_names == names
    return upstream, ours, shape


def images(folder):
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (*size_hw, 3), np.uint8)
        for size_hw in ((50, 80), (120, 70), (64, 64))
    ]
    path = folder / 'a.png'
    Image.fromarray(arrays[0]).save(path)
    tensor = torch.rand(3, 40, 90, generator=torch.Generator().manual_seed(0))
    return [str(path), *arrays, tensor, Image.fromarray(arrays[1])]


def assert_equal(ours, theirs):
    """Boxes within 0.05 px, scores within 1e-4, one order."""
    if isinstance(theirs, KeyPoints):
        assert type(ours) is KeyPoints
        assert_equal_keypoints(ours, theirs)
        return
    assert len(ours) == len(theirs) == NUM_QUERIES
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-4)
    # Neighbours that differ by less than that might be swapped.
    gaps = -np.diff(theirs.confidence)
    assert gaps.min() > 2e-6
    np.testing.assert_allclose(ours.xyxy, theirs.xyxy, atol=0.05)
    assert (ours.class_id == theirs.class_id).all()
    for name in ('class_name', 'source_shape'):
        assert ours.data[name].dtype == theirs.data[name].dtype
        assert (ours.data[name] == theirs.data[name]).all()
    source = theirs.metadata['source_image']
    assert (ours.metadata['source_image'] == source).all()
    if theirs.mask is not None:
        assert ours.mask.shape == theirs.mask.shape
        assert (ours.mask != theirs.mask).mean() < 1e-3


def assert_equal_keypoints(ours, theirs):
    """All arrays of the same names, types and order."""
    assert len(ours) == len(theirs) > 0
    for name, atol in (
        ('xy', 0.05),
        ('keypoint_confidence', 1e-4),
        ('detection_confidence', 1e-4),
        ('class_id', 0),
        ('visible', 0),
    ):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert found.dtype == expected.dtype, name
        np.testing.assert_allclose(found, expected, atol=atol)
    assert ours.data.keys() == theirs.data.keys()
    for name, expected in theirs.data.items():
        found = ours.data[name]
        if name == 'source_image':
            assert len(found) == len(expected)
            assert all((a == b).all() for a, b in zip(found, expected))
            continue
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        if name == 'class_name':
            assert (found == expected).all()
        else:  # pixels, or the triangle's numbers and what follows from them
            atol = 0.05 if name == 'xyxy' else 1e-4
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize('has_shape', [False, True])
def test_predictions_are_equal(models, tmp_path, has_shape):
    upstream, ours, shape = models
    options = dict(threshold=0.01, shape=shape if has_shape else None)
    inputs = images(tmp_path)
    expected = upstream.predict(inputs, **options)
    found = ours.predict(inputs, **options)
    assert len(found) == len(inputs)
    for one, other in zip(found, expected):
        assert_equal(one, other)
    assert_equal(ours.predict(inputs[2], **options), expected[2])


@pytest.mark.parametrize('dynamic_batch', [False, True])
def test_its_own_exported_file_predicts_by_itself(
    models, tmp_path, dynamic_batch
):
    """rfdetr's ONNX file in rfdetr_runtime gives what its predict() gives."""
    pytest.importorskip('onnxruntime')
    upstream, ours, shape = models
    file = upstream.export(
        output_dir=str(tmp_path),
        shape=shape,
        dynamic_batch=dynamic_batch,
        verbose=False,
    )
    has_keypoints = 'Keypoint' in type(ours).__name__
    given = dict(num_keypoints=KEYPOINTS) if has_keypoints else {}
    if has_keypoints and dynamic_batch:  # nor the shapes say it
        with pytest.raises(InputError, match='how many keypoints'):
            load(file)
    with pytest.warns(UserWarning, match='does not say its class_names'):
        unnamed = load(file, **given)
    assert unnamed.class_names == [f'class_{i}' for i in range(NUM_CLASSES)]
    with pytest.warns(UserWarning, match='does not say its mean'):
        model = load(file, class_names=ours.class_names, **given)
    assert model.facts.layout == 'raw' and model.input_hw == shape
    inputs = [x for x in images(tmp_path) if not isinstance(x, torch.Tensor)]
    expected = upstream.predict(inputs, threshold=0.01, shape=shape)
    found = model.predict(inputs, threshold=0.01, as_supervision=has_keypoints)
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


def test_another_resize_is_seen(models, tmp_path, monkeypatch):
    """The control: antialiased pixels give other boxes."""
    upstream, ours, _ = models
    image = images(tmp_path)[2]
    interpolate = torch.nn.functional.interpolate
    expected = upstream.predict(image, threshold=0.01)

    def antialiased(*args, antialias=None, **kwargs):
        return interpolate(*args, antialias=True, **kwargs)

    monkeypatch.setattr(
        'rfdetr_mm.apis.images.F.interpolate',
        lambda *a, **k: (antialiased if 'antialias' in k else interpolate)(
            *a, **k
        ),
    )
    with pytest.raises(AssertionError):
        assert_equal(ours.predict(image, threshold=0.01), expected)

"""The torch-free way gives what mmdeploy's and PyTorch's give."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_export import CLASSES, HW, build, config, export_to, images

from rfdetr_mm.apis.images import load_image, make_batch
from rfdetr_runtime import load
from rfdetr_runtime.decoding import decode, name_classes
from rfdetr_runtime.facts import FileFacts

pytest.importorskip('mmdeploy')
from mmdeploy.apis import build_task_processor  # noqa: E402
from mmdeploy.backend.onnxruntime import ORTWrapper  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.dataset import Compose  # noqa: E402

from rfdetr_mm.deploy.task import set_resize_kernel  # noqa: E402

ORI_HW = (50, 84)
SIZES = [(50, 84), (131, 70), (64, 96)]
CASES = {
    'end2end': 'validation',
    'raw': 'predict',
}


@pytest.fixture(scope='module', params=CASES)
def exported(request, tmp_path_factory):
    """Config, model, file, and the file behind mmdet's interface."""
    cfg = config(seg=True)
    cfg.model.data_preprocessor.pad_size_divisor = 1
    set_resize_kernel(cfg, CASES[request.param])
    model = build(cfg)
    folder = tmp_path_factory.mktemp(request.param)
    file, deploy_cfg = export_to(
        folder, cfg, model, layout=request.param, dynamic_batch=True
    )
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    return cfg, model, file, task.build_backend_model([str(file)])


def samples(sizes):
    """What mmdet's pipeline says about images resized to HW."""
    return [
        DetDataSample(
            metainfo=dict(
                img_shape=HW,
                batch_input_shape=HW,
                ori_shape=hw,
                scale_factor=(HW[1] / hw[1], HW[0] / hw[0]),
            )
        )
        for hw in sizes
    ]


def check_equal(found, instances, box_px, score):
    """Detections of one image by both ways."""
    assert len(found) == len(instances) > 0
    assert found.class_id.tolist() == instances.labels.tolist()
    assert abs(found.xyxy - instances.bboxes.numpy()).max() <= box_px
    assert abs(found.confidence - instances.scores.numpy()).max() <= score
    assert (found.mask != instances.masks.numpy()).mean() <= 1e-4
    assert 0 < found.mask.mean() < 1


@pytest.mark.parametrize('count', [1, 3])
def test_one_input_gives_the_same_to_the_bit(exported, count):
    _, model, file, backend = exported
    x, sizes = images(count), SIZES[:count]
    found = load(file).detect(x.numpy(), sizes)
    others = backend(x, samples(sizes), mode='predict')
    for ours, other in zip(found, others):
        check_equal(ours, other.pred_instances, 0, 0)
    outputs = load(file).run(x.numpy())
    theirs = ORTWrapper(str(file), 'cpu')({'input': x})
    for name in theirs:
        np.testing.assert_array_equal(outputs[name], theirs[name])
    # PyTorch, which shares nothing with the way from outputs to boxes.
    with torch.no_grad():
        wanted = model.predict(x, samples(sizes))
    for ours, other in zip(found, wanted):
        check_equal(ours, other.pred_instances, 0.05, 1e-4)


def test_image_files_give_the_same(exported, tmp_path):
    cfg, model, file, backend = exported
    paths = []
    for i, (height, width) in enumerate(SIZES):
        coarse = np.random.default_rng(i).integers(0, 256, (9, 7, 3), np.uint8)
        paths.append(tmp_path / f'{i}.png')
        Image.fromarray(coarse).resize((width, height)).save(paths[-1])
    preprocessor = model.data_preprocessor
    if load(file).facts.resize_kernel == 'predict':
        x = make_batch(
            [load_image(path, 3, False) for path in paths],
            HW,
            preprocessor.mean / 255,
            preprocessor.std / 255,
        )
    else:
        steps = [dict(step) for step in cfg.test_pipeline[:2]]
        steps[1]['scale'] = HW[::-1]
        pixels = [Compose(steps)(dict(img_path=str(p)))['img'] for p in paths]
        data = [torch.from_numpy(p.transpose(2, 0, 1).copy()) for p in pixels]
        x = preprocessor(dict(inputs=data, data_samples=samples(SIZES)))
        x = x['inputs']
    found = load(file).predict(paths, 0.0)
    others = backend(x, samples(SIZES), mode='predict')
    for ours, other in zip(found, others):
        check_equal(ours, other.pred_instances, 0.01, 1e-5)
        assert ours.class_names.tolist() == [CLASSES[i] for i in ours.class_id]
    # The other kernel must not pass.
    model = load(file)
    kernels = {'predict': 'validation', 'validation': 'predict'}
    facts = model.facts
    object.__setattr__(facts, 'resize_kernel', kernels[facts.resize_kernel])
    moved = model.predict(paths, 0.0)
    assert any(
        abs(a.confidence - b.confidence).max() > 1e-5
        for a, b in zip(found, moved)
    )


def test_a_file_says_its_task_and_kernel(exported):
    model = load(exported[2])
    layout = model.facts.layout
    assert model.task == 'instance-seg' and model.class_names == list(CLASSES)
    assert model.facts.resize_kernel == CASES[layout]
    assert model.facts.max_per_img == 10 and model.input_hw == HW
    assert model.batch_size is None


def test_equal_scores_keep_their_order_and_the_best_are_taken():
    facts = FileFacts(layout='raw', class_names=('a', 'b'), max_per_img=3)
    logits = np.array([[0, 2, 9], [2, 0, 9], [-1, 2, 9]], np.float32)
    boxes = np.full((3, 4), 0.5, np.float32)
    names, rows = name_classes('f', facts, dict(labels=(1, 3, 3)))
    found = decode(
        'f', [boxes, logits], facts, rows, names, (4, 8), (40, 40), 0.0
    )
    assert names == ('a', 'b') and rows == [0, 1]
    assert found.class_id.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.confidence, 1 / (1 + np.exp(-2.0)))
    np.testing.assert_allclose(found.xyxy[0], [10, 10, 30, 30])


def test_cocos_rows_of_rfdetr_are_its_80_classes():
    facts = FileFacts(layout='raw')
    names, rows = name_classes('f', facts, dict(labels=(1, 300, 91)))
    assert len(names) == 80 and names[0] == 'person' and rows[0] == 1
    assert rows[-1] == 90 and names[-1] == 'toothbrush'
    facts = FileFacts(layout='end2end')
    assert name_classes('f', facts, {}) == ((), None)
    labels = np.array([7, 0])
    dets = np.array([[1, 1, 2, 2, 0.9], [0, 0, 1, 1, 0.8]], np.float32)
    found = decode('f', [dets, labels], facts, None, (), (4, 4), (4, 4), 0.1)
    assert found.class_names.tolist() == ['class_7', 'class_0']

"""The ExecuTorch file is the same model, and says what it is."""

import json
import warnings

import numpy as np
import pytest
import torch
from mmdeploy.apis import build_task_processor
from small_export import CLASSES, HW, build, config, images, predict, save

from rfdetr_mm.deploy.executorch.convert import to_executorch
from rfdetr_mm.deploy.executorch.wrapper import ExecuTorchWrapper
from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load, read_metadata

pytest.importorskip('executorch')

BATCH_SIZE = 2  # of the file


def executorch_export(folder, seg):
    cfg = config(seg)
    model = build(cfg)
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg],
        'executorch',
        input_size=HW,
        batch_size=BATCH_SIZE,
    )
    checkpoint = save(model, folder / 'weights.pth')
    files = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    return cfg, model, deploy_cfg, files[0]


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    return executorch_export(tmp_path_factory.mktemp('executorch'), seg=True)


def largest_differences(outputs, model, x):
    """Of boxes in px and of scores, over detections of equal rank."""
    wanted = predict(model, x)
    boxes = torch.stack([detections.bboxes for detections in wanted])
    scores = torch.stack([detections.scores for detections in wanted])
    dets = outputs['dets']
    return (
        (dets[..., :4] - boxes).abs().max().item(),
        (dets[..., 4] - scores).abs().max().item(),
    )


@pytest.mark.parametrize('batch_size', [1, 3])  # less and more than the file's
def test_float32_file_equals_pytorch(exported, batch_size):
    _, model, _, file = exported
    x = images(batch_size)
    names = ['dets', 'labels', 'masks']
    outputs = ExecuTorchWrapper(file, names)({'input': x})
    box_px, score = largest_differences(outputs, model, x)
    assert box_px < 1e-3
    assert score < 1e-5
    wanted = predict(model, x)
    labels = torch.stack([d.labels for d in wanted])
    assert torch.equal(outputs['labels'].long(), labels)
    masks = torch.nn.functional.interpolate(
        outputs['masks'], size=HW, mode='bilinear', align_corners=False
    )
    for given, detections in zip(masks, wanted, strict=True):
        assert ((given > 0) != detections.masks).float().mean() < 1e-3
    # Other images must not pass.
    box_px, score = largest_differences(outputs, model, images(batch_size) + 1)
    assert box_px > 0.05
    assert score > 1e-4


def test_mmdeploy_runs_the_file_as_a_detector(exported):
    cfg, model, deploy_cfg, file = exported
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    backend_model = task.build_backend_model([str(file)])
    x = images(1)
    dets, labels, masks = backend_model.predict(x)
    assert dets.shape == (1, 10, 5) and masks.shape[:2] == (1, 10)
    assert largest_differences({'dets': dets}, model, x)[0] < 1e-3
    assert labels.max() < len(CLASSES)


def test_file_knows_its_model_and_predicts_by_itself(exported):
    _, model, _, file = exported
    facts = read_metadata(file)
    assert facts['class_names'] == '["cat", "dog", "emu"]'
    assert facts['resolution'] == '[64, 96]'
    assert facts['precision'] == 'fp32'
    assert json.loads(facts['output_names']) == ['dets', 'labels', 'masks']
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        loaded = load(file, threads=1)
    assert loaded.facts.resize_kernel == 'validation'
    assert loaded.task == 'instance-seg' and loaded.batch_size == BATCH_SIZE
    x, sizes = images(3), [HW, (50, 84), HW]
    found = loaded.detect(x.numpy(), sizes)
    for ours, hw, wanted in zip(found, sizes, predict(model, x)):
        scale = np.array([hw[1] / HW[1], hw[0] / HW[0]] * 2)
        np.testing.assert_allclose(ours.xyxy, wanted.bboxes * scale, atol=0.01)
        np.testing.assert_allclose(ours.confidence, wanted.scores, atol=1e-5)
        assert ours.class_id.tolist() == wanted.labels.tolist()
        assert ours.mask.shape == (10, *hw)


def test_nothing_is_left_to_the_portable_kernels_but_the_selection(exported):
    """XNNPACK has the matrix products; what is left is named."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(exported[3].read_bytes()).program
    (plan,) = [p for p in program.execution_plan if p.name == 'forward']
    assert {delegate.id for delegate in plan.delegates} == {'XnnpackBackend'}
    left = {operator.name for operator in plan.operators}
    assert not left & {'aten::mm', 'aten::addmm', 'aten::convolution'}
    assert {'aten::topk', 'aten::grid_sampler_2d'} <= left


def test_a_quantised_file_is_smaller_and_near(exported, tmp_path):
    file, precision, box_px, score = exported[3], 'int8-dynamic', 5, 0.05
    program = file.with_suffix('.pt')
    small = tmp_path / 'small.pte'
    small.write_bytes(to_executorch(program, precision))
    assert read_metadata(small)['precision'] == precision
    assert small.stat().st_size < 0.85 * file.stat().st_size
    x, names = images(2), ['dets', 'labels']
    outputs = ExecuTorchWrapper(small, names)({'input': x})
    reference = ExecuTorchWrapper(file, names)({'input': x})
    # The sets of scores: ranks of near scores may change.
    wanted = reference['dets'][..., 4].sort().values
    given = outputs['dets'][..., 4].sort().values
    assert (given - wanted).abs().max() < score
    assert not torch.equal(given, wanted)
    distances = torch.cdist(
        outputs['dets'][..., :4], reference['dets'][..., :4], p=float('inf')
    )
    assert distances.min(dim=-1).values.median() < box_px


@pytest.mark.parametrize(
    ('kept', 'message'),
    [
        (0, 'is not an ExecuTorch file: it does not have "ET12"'),
        (30, 'cannot be read as an ExecuTorch file .30 bytes.: a part'),
        (5000, 'cannot be read as an ExecuTorch file .5000 bytes.: a part'),
        (-1, 'cannot be read as an ExecuTorch file .*: a part of it'),
    ],
)
def test_a_part_of_a_file_is_refused(exported, tmp_path, kept, message):
    part = tmp_path / 'part.pte'
    part.write_bytes(exported[3].read_bytes()[:kept])
    with pytest.raises(InputError, match=message) as error:
        load(part)
    assert '\n' not in str(error.value)


def test_images_of_another_size_are_refused(exported):
    runner = ExecuTorchWrapper(exported[3])
    with pytest.raises(InputError, match='takes images of shape'):
        runner({'input': images(1, HW[::-1])})


def test_another_device_is_refused(exported):
    with pytest.raises(InputError, match="on the CPU only, .*got 'cuda'"):
        load(exported[3], device='cuda')


def test_other_programs_of_executorch(tmp_path):
    """Files without our metadata: a classifier, and rfdetr's own outputs."""
    from executorch.exir import to_edge

    class Model(torch.nn.Module):
        def __init__(self, count):
            super().__init__()
            self.count = count

        def forward(self, x):
            boxes = torch.zeros(1, 5, 4) + x.mean() + 0.5
            logits = torch.zeros(1, 5, 3) + x.mean()
            return (boxes, logits)[: self.count]

    for count in (1, 2):
        model, x = Model(count).eval(), torch.zeros(1, 3, 4, 6)
        lowered = to_edge(torch.export.export(model, (x,)))
        file = tmp_path / f'{count}.pte'
        file.write_bytes(bytes(lowered.to_executorch().buffer))
        assert read_metadata(file) == {}
    with pytest.raises(InputError, match='outputs dets, and dets, labels'):
        load(tmp_path / '1.pte')
    with pytest.warns(UserWarning, match='does not say its class_names'):
        loaded = load(tmp_path / '2.pte')
    assert loaded.facts.layout == 'raw'
    assert loaded.class_names == ['class_0', 'class_1']
    grey = np.full((8, 12, 3), 124, np.uint8)
    found = loaded.predict(grey, 0.0)
    logit = loaded.prepare(grey).mean()
    assert found.confidence[0] == pytest.approx(1 / (1 + np.exp(-logit)))

"""The ncnn model is the same model, and says what it is."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from mmdeploy.apis import build_task_processor
from small_export import CLASSES, HW, build, config, images, predict, save

from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load, read_metadata

pytest.importorskip('ncnn')
pytest.importorskip('pnnx')

FILES = {
    'metadata.json',
    'proposals.ncnn.param',
    'proposals.ncnn.bin',
    'detections.ncnn.param',
    'detections.ncnn.bin',
}


def ncnn_export(folder, seg=True, **options):
    cfg = config(seg)
    model = build(cfg)
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg], 'ncnn', input_size=HW, **options
    )
    checkpoint = save(model, folder / 'weights.pth')
    (file,) = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    return cfg, model, deploy_cfg, file


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    return ncnn_export(tmp_path_factory.mktemp('ncnn'))


def test_the_folder_stands_for_a_file(exported):
    file = exported[3]
    assert file.suffix == '.ncnn'
    assert {part.name for part in file.iterdir()} == FILES
    facts = read_metadata(file)
    assert json.loads(facts['class_names']) == list(CLASSES)
    assert facts['resolution'] == '[64, 96]' and facts['precision'] == 'fp32'
    assert json.loads(facts['output_names']) == ['dets', 'labels', 'masks']
    assert json.loads(facts['input_shape']) == [1, 3, *HW]
    assert facts['num_queries'] == '7'


def check_equal(file, model):
    """The file gives what PyTorch gives, for several images in a call."""
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        loaded = load(file, threads=1)
    assert loaded.task == 'instance-seg' and loaded.batch_size == 1
    x, sizes = images(3), [HW, (50, 84), HW]
    found = loaded.detect(x.numpy(), sizes)
    differences = []
    for ours, hw, wanted in zip(found, sizes, predict(model, x)):
        scale = np.array([hw[1] / HW[1], hw[0] / HW[0]] * 2)
        np.testing.assert_allclose(ours.xyxy, wanted.bboxes * scale, atol=0.01)
        np.testing.assert_allclose(ours.confidence, wanted.scores, atol=1e-4)
        assert ours.class_id.tolist() == wanted.labels.tolist()
        assert ours.mask.shape == (10, *hw)
        if hw == HW:
            differences.append(ours.mask != wanted.masks.numpy())
    assert np.mean(differences) < 1e-3


def test_it_equals_pytorch_and_predicts_by_itself(exported):
    check_equal(exported[3], exported[1])
    # Other images must not pass.
    loaded = load(exported[3], threads=1)
    found = loaded.detect(images(1).numpy() + 1, [HW])[0]
    wanted = predict(exported[1], images(1))[0]
    assert np.abs(found.xyxy - wanted.bboxes.numpy()).max() > 0.05


def test_mmdeploy_runs_it_as_a_detector(exported):
    cfg, model, deploy_cfg, file = exported
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    backend_model = task.build_backend_model([str(file)])
    x = images(1)
    dets, labels, masks = backend_model.predict(x)
    assert dets.shape == (1, 10, 5) and masks.shape == (1, 10, 16, 24)
    wanted = predict(model, x)[0]
    torch.testing.assert_close(
        dets[0, :, :4], wanted.bboxes, atol=1e-3, rtol=0
    )
    assert torch.equal(labels[0], wanted.labels)


def test_raw_outputs_have_the_class_rows_of_upstream(tmp_path):
    _, model, _, file = ncnn_export(tmp_path, layout='raw')
    loaded = load(file, threads=1)
    assert loaded.facts.layout == 'raw' and loaded.class_names == [*CLASSES]
    outputs = loaded.run(images(1).numpy())
    shapes = {name: output.shape for name, output in outputs.items()}
    rows = len(CLASSES) + 1
    assert shapes == dict(
        dets=(1, 7, 4), labels=(1, 7, rows), masks=(1, 7, 16, 24)
    )
    check_equal(file, model)


def test_float16_weights_are_half_as_large_and_near(exported, tmp_path):
    from rfdetr_mm.deploy.ncnn.convert import to_ncnn
    from rfdetr_mm.deploy.ncnn.manager import NCNNManager

    file, small = exported[3], tmp_path / 'small.ncnn'
    NCNNManager.write(to_ncnn(file.with_suffix('.pt'), 'fp16'), small)
    assert read_metadata(small)['precision'] == 'fp16'
    sizes = [
        sum(part.stat().st_size for part in path.glob('*.bin'))
        for path in (file, small)
    ]
    assert 0.45 * sizes[0] < sizes[1] < 0.6 * sizes[0]
    x = images(1).numpy()
    wanted, given = (
        load(path, threads=1).run(x)['dets'][0, :, 4] for path in (file, small)
    )
    assert 0 < np.abs(np.sort(wanted) - np.sort(given)).max() < 0.02


def test_an_operator_that_ncnn_lacks_is_named():
    from rfdetr_mm.deploy.ncnn.convert import check_layers

    text = '7767517\n2 2\nInput in0 0 1 in0\n{} a 1 1 in0 out0 0=1\n'
    check_layers('proposals', text.format('Softmax'))
    with pytest.raises(RuntimeError, match='proposals has .*: torch.topk$'):
        check_layers('proposals', text.format('torch.topk'))


def test_what_pnnx_says_is_passed_on(exported, tmp_path):
    import zipfile

    from rfdetr_mm.deploy.ncnn.convert import to_ncnn

    broken = tmp_path / 'broken.pt'
    with zipfile.ZipFile(broken, 'w') as archive:
        archive.writestr('metadata.json', '{}')
        for name in ('proposals', 'detections'):
            archive.writestr(f'{name}.pt', 'no TorchScript')
    with pytest.raises(RuntimeError, match='pnnx cannot convert the graph'):
        to_ncnn(broken)


@pytest.mark.parametrize(
    'name, message',
    [
        ('metadata.json', 'has no metadata.json'),
        ('proposals.ncnn.param', 'not a whole ncnn model: .* no proposals'),
        ('detections.ncnn.bin', 'not a whole ncnn model: .* no detections'),
    ],
)
def test_a_part_that_is_missing_is_named(exported, tmp_path, name, message):
    part = tmp_path / 'part.ncnn'
    shutil.copytree(exported[3], part)
    (part / name).unlink()
    with pytest.raises(InputError, match=message) as error:
        load(part)
    assert '\n' not in str(error.value)


def test_weights_that_are_cut_off_are_refused(exported, tmp_path):
    part = tmp_path / 'part.ncnn'
    shutil.copytree(exported[3], part)
    weights = part / 'proposals.ncnn.bin'
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match='ncnn refuses proposals.ncnn.bin'):
        load(part)


def test_images_of_another_size_and_another_device_are_refused(exported):
    loaded = load(exported[3])
    with pytest.raises(InputError, match='takes images of shape'):
        loaded.run(images(1, HW[::-1]).numpy())
    with pytest.raises(InputError, match="on the CPU only, .*got 'cuda'"):
        load(exported[3], device='cuda')

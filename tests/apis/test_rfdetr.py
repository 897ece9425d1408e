"""Train a small model for a few steps, evaluate it, write it to files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rfdetr_mm import apis
from rfdetr_mm.apis import RFDETRNano, from_checkpoint
from rfdetr_mm.apis import rfdetr as module
from rfdetr_mm.apis.training import BEST_FILE, CONFIG_FILE
from rfdetr_mm.errors import InputError
from tests.data_factory import CLASSES, write_layout

pytest.importorskip('supervision')

SMALL = dict(
    pretrain_weights=None,
    device='cpu',
    num_queries=9,
    group_detr=2,
    dec_layers=1,
    resolution=64,
)
QUICK = dict(epochs=1, batch_size=2, num_workers=0, seed=0)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    return write_layout(tmp_path_factory.mktemp('data'), 'roboflow')


@pytest.fixture(scope='module')
def trained(data_root, tmp_path_factory):
    """A model after a training, and its folder."""
    folder = tmp_path_factory.mktemp('run')
    model = RFDETRNano(**SMALL)
    model.optimize_for_inference()
    model.train(
        dataset_dir=data_root,
        output_dir=folder,
        resolution=32,
        device='cpu',
        save_dataset_grids=True,
        notes=dict(why='a test'),
        **QUICK,
    )
    return model, folder


def test_what_a_training_leaves(trained):
    model, folder = trained
    assert set(model.class_names) == set(CLASSES)
    assert model.model_config.resolution == model.model.resolution == 32
    assert model.model_config.positional_encoding_size == 2
    assert model.model_config.num_classes == 2
    assert model.model.inference_model is None
    names = {path.name for path in folder.iterdir()}
    assert {BEST_FILE, CONFIG_FILE, 'epoch_1.pth', 'dataset_grids'} <= names
    grids = {path.name for path in (folder / 'dataset_grids').iterdir()}
    assert grids == {'train.png', 'val.png'}
    content = json.loads((folder / CONFIG_FILE).read_text())
    assert content['class_names'] == model.class_names
    assert content['num_classes'] == 2
    assert content['train_config']['epochs'] == 1
    assert content['model_config']['resolution'] == 32
    assert content['model_config_type'] == 'RFDETRNano'


def test_the_trained_weights_predict(trained):
    model, folder = trained
    found = model.predict(IMAGE, threshold=0.0)
    assert len(found) == 4 * 2  # a grid of 2 x 2 cells, 2 classes
    averaged = torch.load(folder / 'epoch_1.pth', weights_only=False)
    for file in (BEST_FILE, 'epoch_1.pth'):
        again = from_checkpoint(folder / file, device='cpu')
        assert type(again) is RFDETRNano
        assert again.class_names == model.class_names
        assert again.model_config.resolution == 32
        assert again.model_config.num_queries == 9
        expected = again.predict(IMAGE, threshold=0.0)
        assert (found.xyxy == expected.xyxy).all()
        assert (found.confidence == expected.confidence).all()
    name = 'bbox_head.cls_branch.weight'
    weight = model.model.model.state_dict()[name]
    assert torch.equal(weight, averaged['state_dict'][name])
    plain = averaged['ema_state_dict'][f'module.{name}']
    assert not torch.equal(weight, plain)


def test_evaluation(trained, data_root, tmp_path):
    model, _ = trained
    before = model.predict(IMAGE, threshold=0.0)
    options = dict(output_dir=tmp_path, num_workers=0, resolution=64)
    alone = write_layout(tmp_path / 'data', 'coco', ('val',))
    for split, folder in (('val', None), ('test', None), ('val', alone)):
        metrics = model.evaluate(split, folder, device='cpu', **options)
        assert 0 <= metrics['coco/bbox_mAP'] <= 1
    assert (tmp_path / 'data').exists() and len(list(tmp_path.iterdir())) > 1
    assert model.model_config.resolution == 32
    after = model.predict(IMAGE, threshold=0.0)
    assert (before.confidence == after.confidence).all()
    with pytest.raises(InputError, match="'test' or 'val', got 'train'"):
        model.evaluate('train')
    with pytest.raises(InputError, match='Did you mean batch_size'):
        model.evaluate('test', batchsize=2)
    with pytest.raises(InputError, match='/none, does not.*by dataset_dir'):
        model.evaluate(dataset_dir=tmp_path / 'none', **options)
    with pytest.raises(InputError, match='is not a device'):
        model.evaluate('test', device='gpu')


def test_an_evaluation_leaves_nothing_in_the_folder(
    trained, tmp_path, monkeypatch
):
    model, _ = trained
    root = write_layout(tmp_path / 'data', 'coco', ('val',))
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    model.evaluate('val', root, device='cpu', num_workers=0)
    assert list(Path.cwd().iterdir()) == []


def test_an_evaluation_with_a_report(trained, tmp_path):
    pytest.importorskip('vernier', reason='vernier is not installed')
    model, _ = trained
    root = write_layout(tmp_path / 'data', 'coco', ('val',))
    options = dict(device='cpu', num_workers=0)
    out = tmp_path / 'report'
    metrics = model.evaluate('val', root, report=out, **options)
    content = json.loads((out / 'report.json').read_text())
    numbers = content['kinds']['bbox']
    # The metric has three decimals.
    assert numbers['overall']['AP'] == pytest.approx(
        metrics['coco/bbox_mAP'], abs=6e-4
    )
    assert numbers['classes'] == model.class_names
    assert metrics['coco/F1'] == numbers['best']['f1']
    assert metrics['coco/threshold'] == numbers['best']['threshold']
    assert 'coco/F1/disc' not in metrics
    each = model.evaluate('val', root, log_per_class_metrics=True, **options)
    assert {f'coco/{name}/disc' for name in ('F1', 'recall')} <= {*each}
    assert content['speed']['predict_ms']['median'] > 0
    assert content['title'] == 'RFDETRNano on data, val'
    again = tmp_path / 'again'
    model.evaluate('val', root, report=again, against=out, **options)
    assert (
        'Compared with <b>RFDETRNano on' in (again / 'index.html').read_text()
    )
    with pytest.raises(InputError, match='holds other files'):
        model.evaluate('val', root, report=root, **options)


def test_a_training_starts_from_the_pretrained_weights(
    trained, data_root, monkeypatch
):
    model, _ = trained

    def stop(cfg, train, device, found):
        raise KeyboardInterrupt(str(cfg.load_from))

    monkeypatch.setattr(module, 'train_in_processes', stop)
    monkeypatch.setattr(module, 'write_training_config', lambda *a: None)
    with pytest.warns(UserWarning, match='starts again from'):
        with pytest.raises(KeyboardInterrupt, match='None'):
            model.train(dataset_dir=data_root, resolution=96)
    assert model.model_config.resolution == model.model.resolution == 32
    assert len(model.predict(IMAGE, threshold=0.0))


def test_automatic_batch_size(data_root, monkeypatch, tmp_path):
    asked, ran = [], []

    def propose(cfg, target):
        asked.append((cfg.model.bbox_head.num_classes, target))
        return 3, 4

    def run(cfg, train, device, found):
        ran.append(cfg)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'propose_batch_size', propose)
    monkeypatch.setattr(module, 'train_in_processes', run)
    with pytest.raises(KeyboardInterrupt):
        RFDETRNano(**SMALL).train(
            dataset_dir=data_root,
            output_dir=tmp_path,
            batch_size='auto',
            auto_batch_target_effective=12,
        )
    assert asked == [(2, 12)]
    assert ran[0].train_dataloader.batch_size == 3
    assert ran[0].optim_wrapper.accumulative_counts == 4


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(), 'dataset_dir is missing'),
        (
            dict(dataset_dir='none'),
            '/none, does not.*by dataset_dir',
        ),
        (dict(dataset_dir=3), 'dataset_dir must be text, got 3'),
        (dict(dataset_dir='.', epoch=3), 'Did you mean epochs'),
        (dict(dataset_dir='.', resolution=50), '= 32 .*32 x 32 and 64 x 64'),
        (dict(dataset_dir='.', device='gpu'), 'is not a device'),
    ],
)
def test_bad_arguments_change_nothing(arguments, message, tmp_path):
    model = RFDETRNano(**SMALL)
    with pytest.raises(InputError, match=message):
        model.train(output_dir=tmp_path / 'out', **arguments)
    assert model.model_config.resolution == 64
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'model_class, fields',
    [
        # The resolution is Large's own.
        (apis.RFDETRMedium, dict(resolution=704, dec_layers=4)),
        (apis.RFDETRSegNano, dict(resolution=72, mask_downsample_ratio=8)),
        (apis.RFDETRNano, dict(num_channels=1)),
    ],
)
def test_a_model_of_other_numbers_comes_back(tmp_path, model_class, fields):
    """From a bundle, and from a checkpoint of this package."""
    torch.manual_seed(0)
    model = model_class(**{**SMALL, 'num_classes': 3, **fields})
    image = IMAGE[..., : fields.get('num_channels', 3)]
    expected = model.predict(image, threshold=0.0)
    model.export_for_roboflow(tmp_path)
    meta = dict(cfg=model.model.cfg.pretty_text)
    content = dict(state_dict=model.model.model.state_dict(), meta=meta)
    torch.save(content, tmp_path / 'ours.pth')
    for name in ('weights.pt', 'ours.pth'):
        again = from_checkpoint(tmp_path / name, device='cpu')
        assert type(again) is model_class
        for field, value in fields.items():
            assert getattr(again.model_config, field) == value
        found = again.predict(image, threshold=0.0)
        np.testing.assert_array_equal(found.xyxy, expected.xyxy)
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_upload(trained, monkeypatch, tmp_path):
    model, _ = trained
    calls = []
    monkeypatch.setattr(
        module, 'deploy_to_roboflow', lambda *given: calls.append(given)
    )
    model.deploy_to_roboflow('space', 'things', 3, api_key='k')
    model.deploy_to_roboflow('space', 'things', 3, size='my-size')
    network, cfg = model.model.model, model.model.cfg
    common = (network, model.class_names, cfg, 'space', 'things', 3)
    assert calls == [(*common, 'k', 'rfdetr-nano'), (*common, None, 'my-size')]
    model.export_for_roboflow(tmp_path / 'bundle')
    names = {path.name for path in (tmp_path / 'bundle').iterdir()}
    assert names == {'weights.pt', 'class_names.txt'}

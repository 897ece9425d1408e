"""Evaluation on Ray has the numbers of one process."""

import contextlib
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from ray_session import ray_here  # noqa: F401
from toy_onnx import FACTS, write_toy

from rfdetr_mm.apis import RFDETRTiny, evaluation_on_ray
from rfdetr_mm.apis.evaluation_on_ray import RayEvaluation
from rfdetr_mm.apis.exported import evaluate_file
from rfdetr_runtime import load
from rfdetr_runtime.scale import FileLoader
from tests.data_factory import edit_json, write_layout
from tests.demo.conftest import DEMO


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A data set that the tiny model knows."""
    folder = tmp_path_factory.mktemp('drawn') / 'set'
    script = str(DEMO / 'pretraining_shapes.py')
    options = ('--train', '0', '--val', '10')
    subprocess.run([sys.executable, script, str(folder), *options], check=True)
    return folder


@pytest.fixture
def no_ray(monkeypatch):
    """Workers in this process, in another order, with copies of all."""

    def copied(value):
        return pickle.loads(pickle.dumps(value))

    def stages(ray, tables, task, actor, actor_args, gpu, num_models):
        assert not gpu and num_models <= 2
        workers = [actor(*actor_args) for _ in range(num_models)]
        batches = [x for table in tables for x in copied(task)(table)]
        for number, table in enumerate(reversed(batches)):
            yield workers[number % num_models](copied(table))

    fake = SimpleNamespace(
        get=copied,
        put=copied,
        cluster_resources=lambda: dict(CPU=2),
    )
    monkeypatch.setitem(sys.modules, 'ray', fake)
    monkeypatch.setattr(
        evaluation_on_ray,
        'ray_session',
        lambda address: contextlib.nullcontext(fake),
    )
    monkeypatch.setattr(evaluation_on_ray, 'run_stages', stages)
    torch.set_num_threads(1)


def check_checkpoint(drawn, where):
    model = RFDETRTiny(device='cpu')
    options = dict(dataset_dir=drawn, batch_size=3, num_workers=0)
    torch.set_num_threads(1)
    wanted = model.evaluate('val', **options)
    assert model.evaluate('val', test=where.test, **options) == wanted
    assert wanted['coco/bbox_mAP'] > 0.3  # it was evaluated


def add_masks(content):
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation['segmentation'] = [polygon]


def check_file(folder, where, seg):
    """The toy gives the same for every picture: few matches, but some."""
    write_layout(folder / 'set', 'roboflow', objects_per_image=2)
    edit_json(folder / 'set/valid/_annotations.coco.json', add_masks)
    names = dict(class_names=['square', 'disc'])
    file = str(
        write_toy(folder / 'toy.onnx', seg=seg, facts={**FACTS, **names})
    )
    given = (load(file, threads=1), 'val', folder / 'set')
    wanted = evaluate_file(*given)
    loader = FileLoader(file)

    def test(*args):
        return where.test_file(loader, *args)

    assert evaluate_file(*given, test=test) == wanted
    assert ('coco/segm_mAP' in wanted) == seg
    assert len(wanted) > 5


def test_a_checkpoint(drawn, no_ray):
    check_checkpoint(drawn, RayEvaluation(num_models=2))


def test_more_models_than_batches(drawn, no_ray):
    model = RFDETRTiny(device='cpu')
    where = RayEvaluation(num_models=5)
    options = dict(dataset_dir=drawn, batch_size=5, num_workers=0)
    assert model.evaluate('val', test=where.test, **options)


@pytest.mark.parametrize('seg', [False, True])
def test_an_exported_file(tmp_path, no_ray, seg):
    pytest.importorskip('onnxruntime')
    check_file(tmp_path, RayEvaluation(), seg)


# Each worker imports mmdet, which takes seconds.
def test_on_ray(drawn, tmp_path, ray_here):  # noqa: F811
    pytest.importorskip('onnxruntime')
    where = RayEvaluation(num_models=1)
    check_checkpoint(drawn, where)
    check_file(tmp_path, where, True)

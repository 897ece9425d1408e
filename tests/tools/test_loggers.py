"""One training logs into files, TensorBoard, W&B and MLflow at once."""

import json
import struct
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.visualization import Visualizer

from rfdetr_mm.engine.visualizer import ReadableDetVisualizer
from tests.data_factory import write_layout
from tests.tools.test_own_data import CONFIG, ROOT, load_tool

NAMES = ('tensorboard', 'wandb', 'mlflow')
pytest.importorskip('tensorboard')
pytest.importorskip('wandb')
pytest.importorskip('mlflow')

BASES = [
    str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py'),
    *(str(ROOT / f'configs/_base_/visualizers/{name}.py') for name in NAMES),
]
VISUALIZER = """
default_hooks = dict(logger=dict(interval=1))
visualizer = dict(vis_backends=_base_.vis_backends + [
    _base_.tensorboard, _base_.wandb, _base_.mlflow])
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """(folder, records of scalars.json) of a short training."""
    folder = tmp_path_factory.mktemp('loggers')
    root = write_layout(folder / 'data', 'flat')
    (folder / 'home').mkdir()
    text = CONFIG.replace('{base!r}', repr(BASES)).format() + VISUALIZER
    (folder / 'tiny.py').write_text(text)
    Visualizer._instance_dict.clear()
    ReadableDetVisualizer._instance_dict.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('HOME', str(folder / 'home'))
        patch.setenv('WANDB_MODE', 'offline')
        for kind in ('CACHE', 'CONFIG', 'DATA'):
            patch.setenv(f'WANDB_{kind}_DIR', str(folder / 'work/wandb'))
        patch.setenv('MLFLOW_TRACKING_URI', f'file://{folder}/work/mlruns')
        # MLflow 3 wants to hear that files are meant.
        patch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
        load_tool('train').main(
            ['tiny.py', '--work-dir', 'work']
            + ['--cfg-options', f'data_root={root}']
        )
    (log,) = (folder / 'work').glob('*/vis_data/scalars.json')
    return folder, [json.loads(line) for line in log.open()]


def test_tensorboard(run):
    from tensorboard.backend.event_processing import event_accumulator

    folder, records = run
    (path,) = (folder / 'work').glob('*/vis_data/events.out.tfevents.*')
    events = event_accumulator.EventAccumulator(str(path))
    events.Reload()
    for name in ('loss', 'base_lr', 'data_time'):
        logged = events.Scalars(name)
        expected = [record for record in records if name in record]
        assert [e.step for e in logged] == [r['step'] for r in expected]
        assert [e.value for e in logged] == pytest.approx(
            [record[name] for record in expected], rel=1e-6
        )
    assert events.Scalars('coco/bbox_mAP')[0].step == 1


def wandb_records(path: Path) -> list[bytes]:
    """Contents of a log in LevelDB's format behind 7 bytes of W&B's own."""
    data, records, parts = path.read_bytes(), [], b''
    position = 7
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # no header fits into the rest of a block
            position += left
            continue
        _, length, kind = struct.unpack_from('<IHB', data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(parts)
            parts = b''
    return records


def test_wandb(run):
    from wandb.proto import wandb_internal_pb2

    folder, records = run
    (path,) = (folder / 'work').glob('*/vis_data/wandb/offline-*/run-*.wandb')
    history = []
    for content in wandb_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.HasField('history'):
            history.append(
                {
                    '/'.join(item.nested_key) or item.key: item.value_json
                    for item in record.history.item
                }
            )
    logged = [json.loads(row['loss']) for row in history if 'loss' in row]
    expected = [record['loss'] for record in records if 'loss' in record]
    assert logged == pytest.approx(expected, rel=1e-6)
    assert any('coco/bbox_mAP' in row for row in history)


def test_mlflow(run):
    folder, records = run
    (path,) = (folder / 'work/mlruns').glob('*/*/metrics/loss')
    logged = [line.split() for line in path.read_text().splitlines()]
    expected = [(r['step'], r['loss']) for r in records if 'loss' in r]
    assert [(int(step), float(value)) for _, value, step in logged] == expected
    run_folder = path.parents[1]
    assert (run_folder / 'metrics/coco/bbox_mAP').is_file()
    max_epochs = run_folder / 'params/train_cfg.max_epochs'
    assert max_epochs.read_text() == '1'
    assert (run_folder / 'artifacts/config.py').is_file()


def test_nothing_is_left_outside_of_the_work_dir(run):
    folder, _ = run
    assert sorted(path.name for path in folder.iterdir()) == [
        'data',
        'home',
        'tiny.py',
        'work',
    ]
    left = [path for path in (folder / 'home').rglob('*') if path.is_file()]
    # mmengine formats the config that it dumps.
    assert {path.parents[1].name for path in left} <= {'YAPF'}


@pytest.mark.parametrize('name', NAMES)
def test_each_fragment_alone(tmp_path, monkeypatch, name):
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    bases = [BASES[0], BASES[1 + NAMES.index(name)]]
    path = tmp_path / 'mine.py'
    path.write_text(f"""
_base_ = {bases!r}
visualizer = dict(vis_backends=_base_.vis_backends + [_base_.{name}])
""")
    backends = Config.fromfile(path).visualizer.vis_backends
    assert [backend.type.lower() for backend in backends] == [
        'localvisbackend',
        f'{name}visbackend',
    ]
    if name == 'mlflow':
        assert backends[1].tracking_uri == 'sqlite:///mlflow.db'


def test_an_extra_names_them():
    text = Path(ROOT, 'setup.py').read_text()
    line = next(line for line in text.splitlines() if "'loggers'" in line)
    assert [n for n in NAMES if f"'{n}" in line] == list(NAMES)

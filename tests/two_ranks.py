"""The real model in two processes on a CPU, and in one for comparison.

``python tests/two_ranks.py FOLDER quick|training`` runs what
tests/tools/test_distributed.py looks at and writes it to FOLDER/report.pth. A
program of its own, because it forks: a process that has trained already
cannot.
"""

import hashlib
import importlib.util
import json
import os
import pickle
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch
from data_factory import CLASSES, write_coco
from mmdet.registry import HOOKS, MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.dist import barrier
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.structures import InstanceData
from torch import nn

from rfdetr_mm.datasets.samplers import SmallDataSampler
from rfdetr_mm.engine import SeededBatchSampler, join_cpu_processes
from rfdetr_mm.models.task_modules import batch_objects

ROOT = Path(__file__).parents[1]
SIZE = (32, 48)
# Objects on four images; with two processes the second has the images 1, 3.
OBJECTS = {
    'uneven': (2, 1, 0, 3),
    'none on one rank': (3, 0, 2, 0),
    'none at all': (0, 0, 0, 0),
}
NUM_IMAGES = 7  # not divisible by two
CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['rfdetr_mm', 'two_ranks'])
image_size = 32
model = dict(
    data_preprocessor=dict(batch_augments=[dict(
        type='BatchMultiScaleResize', img_size=image_size, patch_size=8,
        num_windows=2, expanded=False, largest_first=True)]),
    backbone=dict(img_size=image_size),
    neck=dict(out_channels=32),
    bbox_head=dict(
        num_classes=2, embed_dims=32, num_queries=6, num_groups=2,
        decoder=dict(num_layers=1, feedforward_channels=32)))
data = dict(
    data_root={data_root!r}, ann_file='annotations.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes={classes!r}))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[2].scale = (96, 96)
test_pipeline[1].scale = (image_size, image_size)
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, **data), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={ann_file!r})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=2)
randomness = dict(seed=5)
custom_hooks = _base_.custom_hooks + [dict(type='Probe')]
"""


# Of keypoints: a small one of the figures' config.
POSE_CONFIG = """
_base_ = {base!r}
model = dict(
    neck=dict(out_channels=32),
    bbox_head=dict(
        embed_dims=32, decoder=dict(num_layers=1, feedforward_channels=32)))
"""


@HOOKS.register_module(force=True)
class Probe(Hook):
    """Notes which images a process has seen, and at which size."""

    def __init__(self):
        self.images, self.sizes = [], []

    def before_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        model.backbone.register_forward_pre_hook(
            lambda _, inputs: self.sizes.append(tuple(inputs[0].shape[2:]))
        )

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.images += [s.img_id for s in data_batch['data_samples']]


@MODELS.register_module(force=True)
class NoisyTruth(BaseModel):
    """Detects the annotated boxes, moved and relabelled at random."""

    def __init__(self, ann_file, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.ones(1))
        self.boxes = {}
        for annotation in json.loads(Path(ann_file).read_text())[
            'annotations'
        ]:
            x, y, w, h = annotation['bbox']
            label = (7, 3).index(annotation['category_id'])
            self.boxes.setdefault(annotation['image_id'], []).append(
                (x, y, x + w, y + h, label)
            )

    def forward(self, inputs, data_samples, mode='tensor'):
        for sample in data_samples:
            generator = torch.Generator().manual_seed(sample.img_id)
            rows = torch.tensor(self.boxes.get(sample.img_id, []))
            rows = rows.reshape(-1, 5).float()
            noise = torch.randn(len(rows), 6, generator=generator)
            sample.pred_instances = InstanceData(
                bboxes=rows[:, :4] + 2 * noise[:, :4],
                labels=(rows[:, 4] + (noise[:, 4] > 1)).long() % 2,
                scores=noise[:, 5].sigmoid(),
            )
        return data_samples


def in_ranks(ranks, folder, function, *args):
    """Results of a function in processes joined as a user's are."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    children = set()
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.environ.update(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(ranks),
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=str(port),
                )
                found = function(ranks, rank, *args)
                torch.save(found, folder / f'{rank}.pth')
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.add(child)
    while children:
        child, code = os.wait()
        children.discard(child)
        if code:
            for other in children:
                os.kill(other, signal.SIGKILL)
            raise RuntimeError(f'{function.__name__}{args} failed')
    return [
        torch.load(folder / f'{rank}.pth', weights_only=False)
        for rank in range(ranks)
    ]


def launch_options(ranks):
    return ['--launcher', 'pytorch'] if ranks > 1 else []


def load_tool(name):
    sys.path.insert(0, str(ROOT / 'tools'))
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(state_dict):
    """One number of all names, shapes and bits."""
    found = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        found.update(f'{name} {tuple(value.shape)}'.encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


def batch(objects, num_keypoints=0):
    """Four images, one of them padded, with some objects each."""
    generator = torch.Generator().manual_seed(11)
    images = torch.randn(4, 3, *SIZE, generator=generator).double()
    samples = []
    for i, count in enumerate(objects):
        shape = (24, 40) if i == 1 else SIZE
        corners = torch.rand(count, 2, generator=generator).double() * 12
        sides = 4 + torch.rand(count, 2, generator=generator).double() * 8
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape, pad_shape=SIZE, batch_input_shape=SIZE
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + sides], dim=1),
            labels=torch.arange(count) % 2,
        )
        if num_keypoints:
            shape = (count, num_keypoints)
            shifts = torch.rand(*shape, 2, generator=generator).double()
            visible = torch.randint(3, (*shape, 1), generator=generator)
            sample.gt_instances.keypoints = torch.cat(
                [corners[:, None] + shifts * sides[:, None], visible], dim=2
            )
        samples.append(sample)
    return images, samples


def gradients(ranks, rank, config, objects, reduce=True):
    """Gradients of this process's part of the batch, in float64."""
    cfg = Config(dict(launcher='pytorch' if ranks > 1 else 'none'))
    join_cpu_processes(cfg)
    if not reduce:
        batch_objects.reduce_mean = lambda value: value
    torch.manual_seed(3)
    model = MODELS.build(Config.fromfile(config).model)
    with torch.no_grad():
        for param in model.parameters():
            param += 0.05 * torch.randn(param.shape)
    net = model.double().train()
    if ranks > 1:
        net = MODEL_WRAPPERS.build(
            cfg.model_wrapper_cfg,
            default_args=dict(module=model, device_ids=[rank]),
        )
    schema = getattr(model.bbox_head, 'schema', None)
    images, samples = batch(objects, schema.largest if schema else 0)
    for _ in range(2):  # DDP complains in the second pass
        model.zero_grad()
        losses = net(images[rank::ranks], samples[rank::ranks], mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
    return {
        name: param.grad
        for name, param in model.named_parameters()
        if param.requires_grad
    }


def parts(ranks, rank):
    """What the samplers give to each process, epoch by epoch."""
    join_cpu_processes(Config(dict(launcher='pytorch')))
    data = list(range(8))
    found = {}
    for name, sampler in (
        ('DefaultSampler', DefaultSampler(data, shuffle=True, seed=3)),
        (
            'SmallDataSampler',
            SmallDataSampler(data, batch_size=2, min_steps=2, seed=3),
        ),
    ):
        batches = SeededBatchSampler(sampler, batch_size=2)
        found[name] = []
        for epoch in range(2):
            batches.start(epoch)
            found[name].append([draw for part in batches for draw in part])
    return found


def train(ranks, rank, config, work_dir):
    """Run tools/train.py."""
    runner = load_tool('train').main(
        [str(config), '--work-dir', str(work_dir), *launch_options(ranks)]
    )
    probe = next(h for h in runner.hooks if type(h).__name__ == 'Probe')
    average = next(h for h in runner.hooks if isinstance(h, EMAHook))
    return dict(
        wrapper=type(runner.model).__name__,
        images=probe.images,
        sizes=probe.sizes[: len(probe.images) // 2],
        weights=digest(runner.model.module.state_dict()),
        average=digest(average.ema_model.state_dict()),
        norms=runner.message_hub.get_scalar('train/grad_norm').data[0],
        numbers=numbers_held(runner, average.ema_model),
    )


def train_in_shards(ranks, rank, config, work_dir, checkpoint):
    """Go on from a checkpoint of :func:`train`, with ShardedRunner."""
    runner = load_tool('train').main(
        [str(config), '--work-dir', str(work_dir), *launch_options(ranks)]
        + ['--resume', str(checkpoint)]
        + ['--cfg-options', 'runner_type=ShardedRunner']
    )
    average = next(h for h in runner.hooks if isinstance(h, EMAHook))
    return dict(
        norms=runner.message_hub.get_scalar('train/grad_norm').data[0],
        numbers=numbers_held(runner, average.ema_model),
    )


def numbers_held(runner, average):
    """Numbers in this process: weights, averages, optimizer states."""
    states = runner.optim_wrapper.optimizer.state.values()
    return [
        sum(getattr(value, '_local_tensor', value).numel() for value in values)
        for values in (
            runner.model.parameters(),
            average.parameters(),
            [state['exp_avg'] for state in states],
        )
    ]


def evaluate(ranks, rank, config, checkpoint, work_dir):
    """Run tools/test.py."""
    out = work_dir / 'predictions.pkl'
    runner = load_tool('test').main(
        [str(config), str(checkpoint), '--work-dir', str(work_dir)]
        + ['--out', str(out), *launch_options(ranks)]
    )
    barrier()  # every rank writes the same file
    if rank:
        return {}
    (metrics,) = Path(runner.log_dir).glob('*.json')
    # Of two writers at once, the longer line's end may be left over.
    found, _ = json.JSONDecoder().raw_decode(metrics.read_text())
    return dict(
        metrics=found,
        predictions=[
            (p['img_id'], p['pred_instances'])
            for p in pickle.loads(out.read_bytes())
        ],
    )


def write_configs(folder):
    """A data set, a config of the real model and one of NoisyTruth."""
    sizes = [(60, 90), (90, 60), (50, 70), (64, 64), (80, 50), (48, 100)]
    sizes += [(70, 70)] * (NUM_IMAGES - len(sizes))
    data_root = write_coco(folder / 'data', sizes, empty=(2,))
    ann_file = data_root / 'annotations.json'
    tiny = folder / 'tiny.py'
    tiny.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py'),
            data_root=str(data_root),
            ann_file=str(ann_file),
            classes=CLASSES,
        )
    )
    oracle = folder / 'oracle.py'
    model = dict(
        _delete_=True,
        type='NoisyTruth',
        ann_file=str(ann_file),
        data_preprocessor=dict(type='DetDataPreprocessor'),
    )
    # Without the batch's own sizes there is one size, the test images'.
    oracle.write_text(
        f"_base_ = 'tiny.py'\nmodel = {model!r}\n"
        'train_pipeline = _base_.train_pipeline\n'
        'train_pipeline[2].scale = (32, 32)\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    weights = folder / 'oracle.pth'
    torch.save(
        dict(state_dict=NoisyTruth(ann_file).state_dict(), meta={}), weights
    )
    return tiny, oracle, weights


def quick(folder):
    """Gradients, samplers and evaluation."""
    tiny, oracle, weights = write_configs(folder)
    pose = folder / 'pose.py'
    base = ROOT / 'configs/rfdetr_pose/rfdetr-pose_tiny_figures.py'
    pose.write_text(POSE_CONFIG.format(base=str(base)))
    return dict(
        pose_one={
            name: in_ranks(1, folder, gradients, pose, objects)[0]
            for name, objects in OBJECTS.items()
        },
        pose_two={
            name: in_ranks(2, folder, gradients, pose, objects)
            for name, objects in OBJECTS.items()
        },
        one={
            name: in_ranks(1, folder, gradients, tiny, objects)[0]
            for name, objects in OBJECTS.items()
        },
        two={
            name: in_ranks(2, folder, gradients, tiny, objects)
            for name, objects in OBJECTS.items()
        },
        own_divisors=in_ranks(
            2, folder, gradients, tiny, OBJECTS['uneven'], False
        ),
        parts=in_ranks(2, folder, parts),
        tested=[
            in_ranks(n, folder, evaluate, oracle, weights, folder / f'on_{n}')
            for n in (1, 2)
        ],
    )


def training(folder):
    """Training, without shards and with them from its first checkpoint on."""
    tiny, _, _ = write_configs(folder)
    first = folder / 'trained/epoch_1.pth'
    return dict(
        trained=in_ranks(2, folder, train, tiny, folder / 'trained'),
        in_shards=in_ranks(
            2, folder, train_in_shards, tiny, folder / 'in_shards', first
        ),
        checkpoints=[
            torch.load(folder / name / 'epoch_2.pth', weights_only=False)
            for name in ('trained', 'in_shards')
        ],
    )


def main():
    register_all_modules(init_default_scope=True)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    report = dict(quick=quick, training=training)[sys.argv[2]](folder)
    torch.save(report, folder / 'report.pth')


if __name__ == '__main__':
    main()

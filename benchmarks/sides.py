"""The same work on both sides, done as each side itself does it.

Both sides hold the same random weights, off any symmetry, and get the same
images and objects. Averages of weights, logging and data loading are left
out. ``Ours`` imports nothing of rfdetr and ``Upstream`` nothing of this
package, so that each can run alone in a process.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from clone import ROOT
from onnx_files import export_ours
from paired_rounds import peak_mib
from torch import Tensor, nn
from upstream import (
    CLASS_NAMES,
    KEYPOINT_VARIANT,
    MASK_VARIANTS,
    NUM_KEYPOINTS,
    UNCHANGED,
    Dimensions,
    build_module,
    export_onnx,
    model_config,
    num_classes,
    training_batch,
)

from rfdetr_mm_light.sizes import SIZES

SIDES = ('rfdetr_mm', 'rfdetr')
PHASES = ('forward', 'loss', 'backward', 'optimiser')
MAX_NORM = 0.1  # of the gradients
# Of rfdetr: fields of its ModelConfig. Of rfdetr_mm: options of CompileHook,
# None where nothing is compiled by it.
TRAINING: dict[str, dict[str, dict | None]] = {
    'rfdetr_mm': {
        'eager': None,
        'compile': {},
        'compile+cuda_graphs': dict(cuda_graphs=True),
        'cuda_graphs': dict(backend='cudagraphs'),
    },
    'rfdetr': {
        'eager': {},
        'compile': dict(compile=True),
        'compile+cuda_graphs': dict(compile=True, cuda_graphs=True),
        'cuda_graphs': dict(cuda_graphs=True),
    },
}
FORWARD: dict[str, dict[str, dict | None]] = {
    'rfdetr_mm': {
        'eager': None,
        'torchscript': None,
        'inductor': None,
        'parts': dict(cuda_graphs=True),
    },
    'rfdetr': dict.fromkeys(('eager', 'torchscript', 'inductor')),
}
CONFIGURATIONS = dict(train_step=TRAINING, forward=FORWARD)
OBJECTS = 8  # in every image
# On a GPU: batches of training, in turn, with other numbers of objects each.
BATCHES = 4
RANGE_OF_OBJECTS = (4, 20)  # least and most in an image

Work = Callable[[], Any]
Objects = list[tuple[Tensor, ...]]


def half(device: str) -> torch.dtype:
    """What autocast computes in; a CPU stays in float32."""
    return torch.bfloat16 if device == 'cuda' else torch.float32


def autocast(device: str) -> torch.autocast:
    """Mixed precision as both trainers have it."""
    dtype = half(device)
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


def images_of(batch_size: int, size: int) -> Tensor:
    """Normalised random images, shape (batch_size, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, 3, size, size, generator=generator)


def objects_of(
    num_images: int,
    least: int = OBJECTS,
    most: int = OBJECTS,
    variant: str = '',
    classes: int | None = None,
    size: int = 0,
) -> Objects:
    """Random objects: normalised (cx, cy, w, h) and classes, per image.

    Args:
        num_images: How many images.
        least: The fewest objects of an image.
        most: The most objects of an image.
        variant: One of ``upstream.VARIANTS``; that with keypoints has one
            class, and objects have keypoints; with masks, they have masks.
        classes: How many classes there are; None for the variant's.
        size: Side of the images in pixels, which masks have.

    Returns:
        For each image boxes of shape (num_objects, 4), labels of shape
        (num_objects,) and, if there are any, keypoints of shape (num_objects,
        ``NUM_KEYPOINTS``, 3), normalised (x, y) and COCO's visibility, or
        masks, bool, of shape (num_objects, size, size): ellipses that touch
        the sides of their boxes.
    """
    generator = torch.Generator().manual_seed(1)
    objects = []
    for _ in range(num_images):
        count = least
        if most > least:
            draw = torch.randint(least, most + 1, (1,), generator=generator)
            count = int(draw)
        centres = torch.rand(count, 2, generator=generator) * 0.6 + 0.2
        sizes = torch.rand(count, 2, generator=generator) * 0.3 + 0.05
        labels = torch.randint(
            classes or num_classes(variant), (count,), generator=generator
        )
        objects.append((torch.cat([centres, sizes], dim=1), labels))
        if variant == KEYPOINT_VARIANT:
            shape = (count, NUM_KEYPOINTS)
            shifts = torch.rand(*shape, 2, generator=generator) - 0.5
            visible = torch.randint(3, (*shape, 1), generator=generator)
            places = centres[:, None] + shifts * sizes[:, None]
            points = torch.cat([places, visible], dim=2) * (visible > 0)
            objects[-1] += (points,)
        elif variant in MASK_VARIANTS:
            objects[-1] += (_ellipses(centres, sizes, size),)
    return objects


def _ellipses(centres: Tensor, sizes: Tensor, side: int) -> Tensor:
    """Masks, bool, (num_objects, side, side), of normalised boxes."""
    place = (torch.arange(side) + 0.5) / side
    x, y = (
        ((place - centres[:, None, i]) / sizes[:, None, i] * 2) ** 2
        for i in (0, 1)
    )
    return x[:, None, :] + y[:, :, None] <= 1


def batches_of(
    batch_size: int,
    size: int,
    device: str,
    variant: str = '',
    dimensions: Dimensions = UNCHANGED,
) -> list[tuple[Tensor, Objects]]:
    """Batches of training, the same on both sides.

    Args:
        batch_size: Images in each.
        size: Their sides in pixels.
        device: Where they are wanted.
        variant: See :func:`objects_of`.
        dimensions: How many objects and classes, if that is changed.

    Returns:
        Normalised random images, shape (batch_size, 3, size, size), and
        their objects: one batch for a CPU, ``BATCHES`` for a GPU.
    """
    count, objects = 1, (OBJECTS, OBJECTS)
    if device != 'cpu':
        count, objects = BATCHES, RANGE_OF_OBJECTS
    if dimensions.objects is not None:
        objects = (dimensions.objects, dimensions.objects)
    images = images_of(count * batch_size, size).to(device)
    found = [
        tuple(part.to(device) for part in parts)
        for parts in objects_of(
            count * batch_size, *objects, variant, dimensions.classes, size
        )
    ]
    return [
        (
            images[first : first + batch_size].contiguous(),
            found[first : first + batch_size],
        )
        for first in range(0, len(found), batch_size)
    ]


def config_file(variant: str, data: str = 'coco') -> Path:
    """This package's config of a variant, for COCO or for 'custom' data."""
    (size,) = (
        size
        for size in SIZES.values()
        if size.class_name == CLASS_NAMES[variant]
    )
    return ROOT / 'configs' / size.config.replace('custom', data)


class PhaseClock:
    """Times the parts of a work that is done several times."""

    def __init__(self) -> None:
        self.runs: list[dict[str, float]] = []
        self._last = 0.0

    def start(self) -> None:
        """Begin a run."""
        self.runs.append({})
        self._last = time.perf_counter()

    def done(self, phase: str) -> None:
        """End a phase; the next one begins."""
        now = time.perf_counter()
        self.runs[-1][phase] = now - self._last
        self._last = now


class Side:
    """A model of one side, and the works that it does.

    Args:
        variant: One of ``upstream.VARIANTS``.
        device: Where the model lies.
        size: Side of its images in pixels.
        model: The network.
        dimensions: What is changed about the variant.
    """

    def __init__(
        self,
        variant: str,
        device: str,
        size: int,
        model: nn.Module,
        dimensions: Dimensions,
    ) -> None:
        self.variant, self.device, self.size = variant, device, size
        self.model, self.dimensions = model, dimensions
        self.num_classes = dimensions.classes or num_classes(variant)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the last layer.

        Args:
            images: Normalised, shape (bs, 3, size, size).

        Returns:
            Shapes (bs, num_queries, num_classes) and (bs, num_queries, 4).
        """
        raise NotImplementedError

    def batches(
        self, batch_size: int, form: Callable[[Tensor, Objects], Any]
    ) -> Iterator[Any]:
        """Training batches without end, in the form of this side."""
        batches = batches_of(
            batch_size,
            self.size,
            self.device,
            self.variant,
            self.dimensions,
        )
        return itertools.cycle([form(*batch) for batch in batches])

    def forward(self, batch_size: int) -> Work:
        """From normalised images to logits and boxes."""
        images = images_of(batch_size, self.size).to(self.device)
        self.model.eval()

        @torch.no_grad()
        def work() -> tuple[Tensor, Tensor]:
            return self.outputs(images)

        return work

    def mixed_forward(self, batch_size: int) -> Work:
        """The same under autocast."""
        plain = self.forward(batch_size)

        def work() -> tuple[Tensor, Tensor]:
            with autocast(self.device):
                return plain()

        return work


class Upstream(Side):
    """rfdetr's model of a variant, in its Lightning module.

    Args:
        variant: One of ``upstream.VARIANTS``.
        weights: File of rfdetr's layout; None for new random weights.
        device: Where the model lies.
        batch_size: Images of a training step, which its module wants to know.
        dimensions: What is changed about the variant.
        **options: Fields of its ModelConfig that must have an effect.
    """

    def __init__(
        self,
        variant: str,
        weights: Path | None = None,
        device: str = 'cpu',
        batch_size: int = 4,
        dimensions: Dimensions = UNCHANGED,
        **options: Any,
    ) -> None:
        config = model_config(
            variant, device=device, **dimensions.fields(), **options
        )
        self.module = build_module(config, weights, batch_size=batch_size)
        self.options = options
        super().__init__(
            variant, device, config.resolution, self.module.model, dimensions
        )

    @cached_property
    def wrapper(self) -> Any:
        """The class that its users call, around the same network."""
        import rfdetr

        wrapper = getattr(rfdetr, CLASS_NAMES[self.variant])(
            num_classes=self.num_classes,
            pretrain_weights=None,
            device=self.device,
        )
        torch.set_float32_matmul_precision('highest')
        wrapper.model.model = self.model
        return wrapper

    def save(self, path: Path) -> None:
        """Write the weights in rfdetr's layout."""
        names = [f'class {number}' for number in range(self.num_classes)]
        args = dict(
            num_classes=self.num_classes,
            class_names=names,
            resolution=self.size,
        )
        torch.save(dict(model=self.model.state_dict(), args=args), path)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Side.outputs`; the logits have a spare class."""
        outputs = self.model(images)
        return outputs['pred_logits'], outputs['pred_boxes']

    def optimize(self, batch_size: int) -> None:
        """Switch its own fast path on: TorchScript of a fixed batch."""
        self.wrapper.inference(compile=True, batch_size=batch_size)

    def predict(self, image: np.ndarray) -> Work:
        """From an RGB array, shape (h, w, 3), to detections."""
        return lambda: self.wrapper.predict(image, threshold=0.0)

    def onnx_file(self, folder: Path) -> Path:
        """Export it by its own exporter."""
        size = (self.size, self.size)
        config = self.module.model_config
        return export_onnx(self.model, config, size, folder)

    def train_step(
        self, batch_size: int, clock: PhaseClock | None = None
    ) -> Work:
        """One step as rfdetr's module and Lightning make it.

        Args:
            batch_size: Images of a step.
            clock: Times the phases, if given. Gradients are freed at the end
                of a step then, else after the next forward as Lightning does.

        Returns:
            The step; it gives its loss.

        Raises:
            RuntimeError: If an option had no effect.
        """
        module = self.module.train()
        self._join_trainer()
        optimizer = module.configure_optimizers()['optimizer']
        parameters = [p for g in optimizer.param_groups for p in g['params']]
        third = 'masks' if self.variant in MASK_VARIANTS else 'keypoints'
        batches = self.batches(
            batch_size, partial(training_batch, third=third)
        )
        run = module._cuda_graph_runner or module.model
        criterion = module.criterion
        phase = clock or PhaseClock()

        def work() -> Tensor:
            images, targets = next(batches)
            phase.start()
            if module._inductor_cudagraphs:
                torch.compiler.cudagraph_mark_step_begin()
            with autocast(self.device):
                outputs = run(images, targets)
                phase.done('forward')
                if module._use_manual_optimization:  # with keypoints
                    _, total, count = module._compute_train_losses(
                        outputs, targets
                    )
                    loss = total / count
                else:
                    terms = criterion(outputs, targets)
                    weights = criterion.weight_dict
                    loss = torch.stack(
                        [terms[k] * weights[k] for k in terms if k in weights]
                    ).sum()
            phase.done('loss')
            if clock is None:
                optimizer.zero_grad()
            loss.backward()
            phase.done('backward')
            nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            optimizer.step()
            if clock is not None:
                optimizer.zero_grad()
            phase.done('optimiser')
            return loss.detach()

        return work

    def _join_trainer(self) -> None:
        """Give the module what it asks of Lightning's trainer.

        Raises:
            RuntimeError: If an option had no effect.
        """
        module = self.module
        mixed = half(self.device) == torch.bfloat16
        if mixed:
            # As its build_trainer does.
            torch.set_float32_matmul_precision('high')
        module.trainer = SimpleNamespace(
            precision='bf16-mixed' if mixed else '32-true',
            world_size=1,
            accumulate_grad_batches=1,
            estimated_stepping_batches=1000,
            is_global_zero=True,
        )
        module._configure_cuda_graph_runner()
        graphs = module._cuda_graph_runner is not None
        if self.options.get('compile') and self.options.get('cuda_graphs'):
            graphs = module._inductor_cudagraphs
        found = dict(compile=module._compile_active, cuda_graphs=graphs)
        idle = [name for name in self.options if not found[name]]
        if idle:
            raise RuntimeError(f'no effect on this device: {", ".join(idle)}')


class Ours(Side):
    """This package's model of a variant.

    Args:
        variant: One of ``upstream.VARIANTS``.
        weights: File of rfdetr's layout; None for new random weights.
        device: Where the model lies.
        cfg: Config instead of the variant's.
        dimensions: What is changed about the variant.

    Raises:
        InputError: If windows of patches do not fill the changed images.
    """

    def __init__(
        self,
        variant: str,
        weights: Path | None = None,
        device: str = 'cpu',
        cfg: Any = None,
        dimensions: Dimensions = UNCHANGED,
    ) -> None:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
        from mmengine.config import Config
        from mmengine.runner import load_checkpoint

        import rfdetr_mm  # noqa: F401  registers

        register_all_modules(init_default_scope=True)
        self.cfg = cfg or Config.fromfile(config_file(variant))
        _change(self.cfg, dimensions)
        self.weights = weights
        torch.manual_seed(0)
        model = MODELS.build(self.cfg.model)
        if weights is not None:
            load_checkpoint(model, str(weights), map_location='cpu')
        size = dimensions.size or self.cfg.image_size
        super().__init__(variant, device, size, model.to(device), dimensions)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Side.outputs`."""
        cls_scores, bbox_preds, *_ = self.model(images, mode='tensor')
        return cls_scores[-1], bbox_preds[-1]

    def predict(self, image: np.ndarray) -> Work:
        """From an RGB array, shape (h, w, 3), to detections."""
        from rfdetr_mm.apis import RFDETRInferencer

        # Both sides resize as upstream's predict() does.
        for step in self.cfg.test_dataloader.dataset.pipeline:
            if step.type == 'RFDETRResize':
                step.kernel = 'predict'
        inferencer = RFDETRInferencer(
            self.cfg, str(self.weights), device='cpu', show_progress=False
        )
        bgr = np.ascontiguousarray(image[..., ::-1])  # as mmcv reads files
        return lambda: inferencer(bgr, return_datasamples=True)

    def wrapper(self) -> Any:
        """The model by the class that is called as rfdetr's."""
        from rfdetr_mm import apis

        return getattr(apis, CLASS_NAMES[self.variant])(
            num_classes=self.num_classes,
            pretrain_weights=str(self.weights),
            device=self.device,
        )

    def _batch(self, images: Tensor, objects: Objects) -> tuple[Tensor, list]:
        """The images, and mmdet's samples of them with their objects."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData

        hw = (self.size, self.size)
        meta = dict(batch_input_shape=hw, img_shape=hw, ori_shape=hw)
        samples = []
        scale = images.new_tensor([self.size, self.size, 1])
        for boxes, labels, *more in objects:
            sample = DetDataSample(metainfo=dict(meta, scale_factor=(1, 1)))
            sample.gt_instances = InstanceData(
                bboxes=bbox_cxcywh_to_xyxy(boxes) * self.size, labels=labels
            )
            if more and self.variant in MASK_VARIANTS:
                masks = more[0].cpu().numpy().astype(np.uint8)
                sample.gt_instances.masks = BitmapMasks(masks, *hw)
            elif more:
                sample.gt_instances.keypoints = more[0] * scale
            samples.append(sample)
        return images, samples

    def train_step(
        self,
        batch_size: int,
        clock: PhaseClock | None = None,
        options: dict[str, Any] | None = None,
        in_bf16: bool | None = None,
    ) -> Work:
        """One step as mmengine's Runner makes it.

        Args:
            batch_size: Images of a step.
            clock: Times the phases, if given.
            options: Options of CompileHook; None if nothing is compiled.
            in_bf16: Whether it is computed in bfloat16; None: on a GPU.

        Returns:
            The step; it gives its loss.
        """
        from mmengine.config import Config
        from mmengine.optim import build_optim_wrapper

        model = self.model.train()
        if in_bf16 is None:
            in_bf16 = half(self.device) == torch.bfloat16
        name = 'adamw_bf16_100e.py' if in_bf16 else 'adamw_100e.py'
        schedules = ROOT / 'configs' / '_base_' / 'schedules'
        cfg = Config.fromfile(schedules / name)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        prepare = _compiled(model, options)
        batches = self.batches(batch_size, self._batch)
        phase = clock or PhaseClock()
        if clock is not None:
            _before(model.bbox_head, 'loss_by_feat', phase, 'forward')
            _before(wrapper, 'step', phase, 'backward')

        def work() -> Tensor:
            images, samples = next(batches)
            phase.start()
            prepare()
            with wrapper.optim_context(model):
                losses = model(images, samples, mode='loss')
                loss, _ = model.parse_losses(losses)
            phase.done('loss')
            wrapper.update_params(loss)
            phase.done('optimiser')
            return loss.detach()

        return work

    def onnx_file(self, folder: Path) -> Path:
        """Export it by this package's exporter, raw outputs."""
        return export_ours(
            self.cfg, self.weights, folder, _quiet, layout='raw'
        )


CLASSES = dict(zip(SIDES, (Ours, Upstream)))


def _change(cfg: Any, dimensions: Dimensions) -> None:
    """Change a config of ours, in place; raises what ``Ours`` raises."""
    from rfdetr_mm.sizes.config_facts import set_resolution

    if dimensions.size is not None:
        set_resolution(cfg, dimensions.size)
    if dimensions.classes is not None:
        cfg.model.bbox_head.num_classes = dimensions.classes
    if dimensions.queries is not None:
        cfg.model.bbox_head.num_queries = dimensions.queries
        cfg.model.test_cfg.max_per_img = dimensions.queries


def _quiet(line: str) -> None:
    """Take no notice."""


def _compiled(model: nn.Module, options: dict | None) -> Callable[[], None]:
    """Let a CompileHook, if any, compile a model; it wants to be told."""
    if options is None:
        return lambda: None
    from rfdetr_mm.engine import CompileHook

    hook = CompileHook(**options)
    runner = SimpleNamespace(model=model, logger=logging.getLogger())
    hook.before_train(runner)
    return lambda: hook.before_train_iter(runner)


def _before(owner: Any, name: str, clock: PhaseClock, phase: str) -> None:
    """End a phase whenever a method is called."""
    method = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        clock.done(phase)
        return method(*args, **kwargs)

    setattr(owner, name, timed)


@dataclass
class Job:
    """What a process of gpu_worker.py does.

    Args:
        side: One of ``SIDES``.
        row: One of ``CONFIGURATIONS``.
        configuration: One that the side has for the row.
        batch_size: Images.
        variant: One of ``upstream.VARIANTS``.
        weights: File of rfdetr's layout; None for new random weights.
        device: Where everything lies.
    """

    side: str
    row: str
    configuration: str
    batch_size: int
    variant: str
    weights: str | None
    device: str

    @property
    def name(self) -> str:
        """For people."""
        return (
            f'{self.row}, batch {self.batch_size}, {self.side} '
            f'{self.configuration}'
        )


def works_of(job: Job, **changed: Any) -> dict[str, Work]:
    """The works of a job.

    Args:
        job: The job.
        **changed: Options of CompileHook, where it is used.

    Returns:
        Works by name: 'step', or of a forward 'bf16' and, for one image,
        'fp32'.
    """
    is_training = job.row == 'train_step'
    torch.backends.cudnn.allow_tf32 = is_training
    given = (job.variant, job.weights, job.device)
    options = CONFIGURATIONS[job.row][job.side][job.configuration]
    if is_training and job.side == 'rfdetr':
        side = Upstream(*given, batch_size=job.batch_size, **options)
        return {'step': side.train_step(job.batch_size)}
    if options is not None:
        options = options | changed
    side = CLASSES[job.side](*given)
    if is_training:
        return {'step': side.train_step(job.batch_size, options=options)}
    if job.configuration in ('torchscript', 'inductor'):
        work = _optimised(side, job.batch_size, job.configuration)
        return {'bf16': work}
    prepare = _compiled(side.model, options)
    mixed = side.mixed_forward(job.batch_size)

    def forward() -> Any:
        prepare()
        return mixed()

    works = {'bf16': forward}
    if job.configuration == 'eager' and job.batch_size == 1:
        works['fp32'] = side.forward(1)
    return works


def peak_of(
    side: str,
    variant: str,
    batch_size: int,
    changed: Mapping = MappingProxyType({}),
) -> tuple[float, float]:
    """Peak memory of this process, before and after two training steps.

    Args:
        side: One of ``SIDES``.
        variant: One of ``upstream.VARIANTS``.
        batch_size: Images of a step.
        changed: Arguments of ``Dimensions``.

    Returns:
        Both peaks in MiB.
    """
    built = CLASSES[side](variant, dimensions=Dimensions(**changed))
    step = built.train_step(batch_size, PhaseClock())
    before = peak_mib()
    for _ in range(2):
        step()
    return before, peak_mib()


def _optimised(side: Side, batch_size: int, backend: str) -> Work:
    """A forward by the side's own compiled network of one batch size."""
    options = dict(
        batch_size=batch_size,
        dtype=half(side.device),
        compile_backend=backend,
    )
    images = images_of(batch_size, side.size).to(side.device)
    if isinstance(side, Upstream):
        side.wrapper.inference(compile=True, **options)
        network = side.wrapper.model.inference_model
        mode, dtype = torch.inference_mode, options['dtype']
    else:
        wrapper = side.wrapper()
        wrapper.optimize_for_inference(**options)
        network = wrapper.model.inference_model.network
        mode, dtype = torch.no_grad, images.dtype

    @mode()
    def work() -> Any:
        return network(images.to(dtype))  # rfdetr's predict() casts as well

    return work


def agreement(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float
) -> dict[str, float]:
    """How far logits and boxes of both sides agree, query by query.

    A GPU may swap two proposals whose scores differ by rounding, and then
    two queries differ by more than that.

    Args:
        ours: Logits (bs, num_queries, num_classes) and boxes (bs,
            num_queries, 4).
        theirs: The same of rfdetr, whose logits have a spare class.
        tolerance: The largest difference of a query that agrees.

    Returns:
        ``share`` of the queries within the tolerance; ``median`` and
        ``largest`` of the queries' largest differences.
    """
    scores, boxes = ours
    their_scores, their_boxes = theirs
    spare = (scores - their_scores[..., : scores.shape[-1]]).abs()
    largest = torch.maximum(
        spare.amax(-1), (boxes - their_boxes).abs().amax(-1)
    )
    return dict(
        share=float((largest <= tolerance).float().mean()),
        median=float(largest.median()),
        largest=float(largest.max()),
    )


def start_up_code(side: str, variant: str, weights: Path) -> str:
    """A program from the imports to the first prediction."""
    image = 'np.zeros((480, 640, 3), np.uint8)'
    if side == 'rfdetr':
        name = CLASS_NAMES[variant]
        return (
            f'import numpy as np; from rfdetr import {name}\n'
            f'model = {name}(num_classes={num_classes(variant)}, '
            f'device="cpu", pretrain_weights={str(weights)!r})\n'
            f'print(len(model.predict({image}, threshold=0.0)))'
        )
    config = config_file(variant)
    return (
        'import numpy as np; from rfdetr_mm.apis import RFDETRInferencer\n'
        f'model = RFDETRInferencer({str(config)!r}, {str(weights)!r}, '
        'device="cpu", show_progress=False)\n'
        f'print(len(model({image})["predictions"]))'
    )

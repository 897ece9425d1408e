"""Training steps and forwards of both sides on a device, for gpu_worker.py.

Each side in the configurations that it has for a GPU. Every work is done as
the side's own trainer or predictor does it; averages of weights, logging and
data loading are left out on both sides.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from clone import ROOT
from torch import Tensor, nn
from upstream_sides import (
    MAX_NORM,
    NUM_CLASSES,
    Ours,
    Upstream,
    images_of,
)

# Of rfdetr: fields of its ModelConfig. Of rfdetr_mm: options of CompileHook.
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
FORWARD = {
    'rfdetr_mm': ('eager', 'torchscript', 'inductor', 'parts'),
    'rfdetr': ('eager', 'torchscript', 'inductor'),
}
BATCHES = 4  # of training, in turn, with other numbers of objects each
OBJECTS = (4, 20)  # least and most in an image

Work = Callable[[], Any]
Objects = list[tuple[Tensor, Tensor]]


def half(device: str) -> torch.dtype:
    """What autocast computes in; a CPU, for tests, stays in float32."""
    return torch.bfloat16 if device == 'cuda' else torch.float32


def autocast(device: str) -> torch.autocast:
    """Mixed precision as both trainers have it."""
    dtype = half(device)
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


def batches_of(
    batch_size: int, size: int, device: str
) -> list[tuple[Tensor, Objects]]:
    """Batches of training, the same on both sides.

    Args:
        batch_size: Images in each.
        size: Their sides in pixels.
        device: Where they are wanted.

    Returns:
        ``BATCHES`` of normalised random images and, for every image, boxes,
        normalised (cx, cy, w, h), and labels.
    """
    generator = torch.Generator().manual_seed(1)
    images = images_of(BATCHES * batch_size, size).to(device)
    batches = []
    for part in images.split(batch_size):
        objects = []
        for _ in range(batch_size):
            low, high = OBJECTS
            draw = torch.randint(low, high + 1, (1,), generator=generator)
            count = int(draw)
            centres = torch.rand(count, 2, generator=generator) * 0.6 + 0.2
            sizes = torch.rand(count, 2, generator=generator) * 0.3 + 0.05
            boxes = torch.cat([centres, sizes], dim=1)
            labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
            objects.append((boxes.to(device), labels.to(device)))
        batches.append((part.contiguous(), objects))
    return batches


def our_train_step(
    args: Any, options: dict | None, **hook: Any
) -> Callable[[], Tensor]:
    """A step as mmengine's Runner makes it in mixed precision.

    Args:
        args: ``variant``, ``weights``, ``device`` and ``batch_size``.
        options: Of CompileHook; None without it.
        **hook: More of them.

    Returns:
        The step; it gives its loss.
    """
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper

    from rfdetr_mm.engine import CompileHook

    ours = Ours(args.variant, args.weights, args.device)
    model = ours.model
    schedules = ROOT / 'configs' / '_base_' / 'schedules'
    mixed = half(args.device) == torch.bfloat16
    name = 'adamw_bf16_100e.py' if mixed else 'adamw_100e.py'
    cfg = Config.fromfile(schedules / name)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    runner = SimpleNamespace(model=model, logger=logging.getLogger())
    hooks = [] if options is None else [CompileHook(**options, **hook)]
    for one in hooks:
        one.before_train(runner)
    model.train()
    batches = itertools.cycle(
        [
            (images, ours.samples(objects))
            for images, objects in batches_of(
                args.batch_size, ours.size, args.device
            )
        ]
    )

    def work() -> Tensor:
        images, samples = next(batches)
        for one in hooks:
            one.before_train_iter(runner)
        with wrapper.optim_context(model):
            losses = model(images, samples, mode='loss')
            loss, _ = model.parse_losses(losses)
        wrapper.update_params(loss)
        return loss.detach()

    return work


def upstream_module(args: Any, options: dict) -> Any:
    """Rfdetr's Lightning module, ready to train, with its own fast options.

    Args:
        args: ``variant``, ``weights``, ``device`` and ``batch_size``.
        options: Fields of its ModelConfig.

    Returns:
        The module, on the device, with the runner of CUDA graphs if wanted.

    Raises:
        RuntimeError: If an option had no effect.
    """
    import rfdetr
    from rfdetr.config import TrainConfig
    from rfdetr.training.module_model import RFDETRModelModule

    torch.set_float32_matmul_precision('high')  # as its build_trainer does
    config_class = getattr(
        rfdetr, f'RFDETR{args.variant.capitalize()}'
    )._model_config_class
    model_config = config_class(
        num_classes=NUM_CLASSES,
        pretrain_weights=None,
        device=args.device,
        **options,
    )
    train_config = TrainConfig(
        dataset_dir='.', batch_size=args.batch_size, multi_scale=False
    )
    module = RFDETRModelModule(model_config, train_config)
    model = getattr(module.model, '_orig_mod', module.model)
    state_dict = torch.load(args.weights, weights_only=True)['model']
    model.load_state_dict(state_dict)
    module.to(args.device).train()
    # What it asks of Lightning's.
    mixed = half(args.device) == torch.bfloat16
    module.trainer = SimpleNamespace(
        precision='bf16-mixed' if mixed else '32-true',
        world_size=1,
        accumulate_grad_batches=1,
        estimated_stepping_batches=1000,
        is_global_zero=True,
    )
    module._configure_cuda_graph_runner()
    both = bool(options.get('compile') and options.get('cuda_graphs'))
    found = dict(
        compile=module._compile_active,
        cuda_graphs=module._inductor_cudagraphs
        if both
        else module._cuda_graph_runner is not None,
    )
    idle = [name for name in options if not found[name]]
    if idle:
        raise RuntimeError(f'no effect on this device: {", ".join(idle)}')
    return module


def upstream_train_step(args: Any, options: dict) -> Callable[[], Tensor]:
    """A step as rfdetr's module and Lightning make it.

    In Lightning's order: the forward and the loss under autocast, gradients
    of the last step set to None, backward, clipping, optimiser.

    Args:
        args: ``variant``, ``weights``, ``device`` and ``batch_size``.
        options: Fields of its ModelConfig.

    Returns:
        The step; it gives its loss.
    """
    from rfdetr.utilities.tensors import nested_tensor_from_tensor_list

    module = upstream_module(args, options)
    optimizer = module.configure_optimizers()['optimizer']
    parameters = [p for g in optimizer.param_groups for p in g['params']]
    size = module.model_config.resolution
    batches = itertools.cycle(
        [
            (
                nested_tensor_from_tensor_list(images),
                [
                    dict(
                        boxes=boxes,
                        labels=labels,
                        orig_size=torch.tensor([1, 1], device=args.device),
                    )
                    for boxes, labels in objects
                ],
            )
            for images, objects in batches_of(
                args.batch_size, size, args.device
            )
        ]
    )
    run = module._cuda_graph_runner or module.model
    criterion = module.criterion

    def work() -> Tensor:
        images, targets = next(batches)
        if module._inductor_cudagraphs:
            torch.compiler.cudagraph_mark_step_begin()
        with autocast(args.device):
            terms = criterion(run(images, targets), targets)
            weights = criterion.weight_dict
            loss = torch.stack(
                [terms[k] * weights[k] for k in terms if k in weights]
            ).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()
        return loss.detach()

    return work


def _eager(
    side: Ours | Upstream, batch_size: int, device: str
) -> dict[str, Work]:
    plain = side.forward(batch_size)

    def mixed() -> Any:
        with autocast(device):
            return plain()

    works = {'bf16': mixed}
    if batch_size == 1:
        works['fp32'] = plain
    return works


def our_forwards(
    args: Any, configuration: str, **hook: Any
) -> dict[str, Work]:
    """From normalised images to logits and boxes.

    Args:
        args: ``variant``, ``weights``, ``device`` and ``batch_size``.
        configuration: One of ``FORWARD``.
        **hook: More options of CompileHook, for ``parts``.

    Returns:
        Works by 'bf16' and, where it applies, 'fp32'.
    """
    ours = Ours(args.variant, args.weights, args.device)
    if configuration == 'eager':
        return _eager(ours, args.batch_size, args.device)
    if configuration == 'parts':
        from rfdetr_mm.engine import CompileHook

        runner = SimpleNamespace(model=ours.model, logger=logging.getLogger())
        compile_hook = CompileHook(**(hook or dict(cuda_graphs=True)))
        compile_hook.before_train(runner)
        eager = _eager(ours, args.batch_size, args.device)['bf16']

        def work() -> Any:
            compile_hook.before_train_iter(runner)
            return eager()

        return {'bf16': work}
    wrapper = ours.wrapper()
    wrapper.optimize_for_inference(
        batch_size=args.batch_size,
        dtype=half(args.device),
        compile_backend=configuration,
    )
    network = wrapper.model.inference_model.network
    images = images_of(args.batch_size, ours.size).to(args.device)

    @torch.no_grad()
    def optimised() -> Any:
        return network(images)

    return {'bf16': optimised}


def upstream_forwards(args: Any, configuration: str) -> dict[str, Work]:
    """From normalised images to logits and boxes, in rfdetr.

    Args:
        args: ``variant``, ``weights``, ``device`` and ``batch_size``.
        configuration: One of ``FORWARD``.

    Returns:
        Works by 'bf16' and, where it applies, 'fp32'.
    """
    upstream = Upstream(args.variant, args.weights, args.device)
    if configuration == 'eager':
        return _eager(upstream, args.batch_size, args.device)
    dtype = half(args.device)
    upstream.wrapper.inference(
        compile=True,
        batch_size=args.batch_size,
        dtype=dtype,
        compile_backend=configuration,
    )
    network = upstream.wrapper.model.inference_model
    images = images_of(args.batch_size, upstream.size).to(args.device)

    @torch.inference_mode()
    def work() -> Any:
        return network(images.to(dtype))  # its predict() casts as well

    return {'bf16': work}


def works_of(args: Any, **hook: Any) -> dict[str, Work]:
    """What a process of gpu_worker.py does.

    Args:
        args: ``side``, ``row``, ``configuration``, ``variant``, ``weights``,
            ``device`` and ``batch_size``.
        **hook: More options of CompileHook, on our side.

    Returns:
        Works by name.
    """
    torch.backends.cudnn.allow_tf32 = args.row == 'train_step'
    if args.row == 'train_step':
        options = TRAINING[args.side][args.configuration]
        if args.side == 'rfdetr':
            return {'step': upstream_train_step(args, options)}
        return {'step': our_train_step(args, options, **hook)}
    if args.side == 'rfdetr':
        return upstream_forwards(args, args.configuration)
    return our_forwards(args, args.configuration, **hook)


def agreement(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float
) -> dict[str, float]:
    """How far logits and boxes of both sides agree, query by query.

    A GPU may swap two proposals whose scores differ by rounding, and then
    two queries differ by more than that.

    Args:
        ours: Logits and boxes, shape (bs, num_queries, ...).
        theirs: Likewise; rfdetr's logits have a spare class.
        tolerance: That a query may differ by.

    Returns:
        ``share`` of the queries within the tolerance, and the ``median`` of
        the queries' largest differences.
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
    )


def parity(
    variant: str, weights: Path, device: str, tolerance: float
) -> dict[str, float]:
    """Compare both sides' forward of two images in float32, without TF32."""
    torch.backends.cudnn.allow_tf32 = False
    theirs = Upstream(variant, weights, device).forward(2)()
    torch.set_float32_matmul_precision('highest')
    ours = Ours(variant, weights, device).forward(2)()
    return agreement(ours, theirs, tolerance)

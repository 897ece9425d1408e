"""The same work on both sides, for compare_upstream.py.

Both sides hold the same random weights, off any symmetry, and get the same
images. ``Ours`` imports nothing of rfdetr and ``Upstream`` nothing of mmdet's
models, so that each can run alone in a process.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ['HF_HUB_OFFLINE'] = '1'
from clone import ROOT

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

# Variants with patches of 16 px: rfdetr builds them without a download.
VARIANTS = ('nano', 'small', 'medium', 'large')
NUM_CLASSES = 80
PHASES = ('forward', 'loss', 'backward', 'optimiser')
OBJECTS = 8  # in every image
PERTURBATION = 0.02
DEAD_BIAS = -20.0  # of upstream's spare class row
MAX_NORM = 0.1  # of the gradients
SIDES = ('rfdetr_mm', 'rfdetr')


def boxes_of(batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Random objects: normalised (cx, cy, w, h) and classes, per image."""
    generator = torch.Generator().manual_seed(1)
    objects = []
    for _ in range(batch_size):
        centres = torch.rand(OBJECTS, 2, generator=generator) * 0.6 + 0.2
        sizes = torch.rand(OBJECTS, 2, generator=generator) * 0.3 + 0.05
        labels = torch.randint(NUM_CLASSES, (OBJECTS,), generator=generator)
        objects.append((torch.cat([centres, sizes], dim=1), labels))
    return objects


def images_of(batch_size: int, size: int) -> Tensor:
    """Normalised random images, shape (batch_size, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, 3, size, size, generator=generator)


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


class Upstream:
    """rfdetr's model of a variant.

    Args:
        variant: One of ``VARIANTS``.
        weights: File of rfdetr's layout; None for new random weights.
        device: Of the model.
    """

    def __init__(
        self,
        variant: str,
        weights: Path | None = None,
        device: str = 'cpu',
    ) -> None:
        import rfdetr

        self.device = device
        self.wrapper = getattr(rfdetr, f'RFDETR{variant.capitalize()}')(
            num_classes=NUM_CLASSES, pretrain_weights=None, device=device
        )
        # rfdetr asks for TF32 on import.
        torch.set_float32_matmul_precision('highest')
        self.size = self.wrapper.model_config.resolution
        self.model: nn.Module = self.wrapper.model.model
        if weights is not None:
            state_dict = torch.load(weights, weights_only=True)['model']
            self.model.load_state_dict(state_dict)
        else:
            self._perturb()
        self.model.to(device)

    def _perturb(self) -> None:
        """Move the weights off any symmetry; a spare row stays out."""
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn_like(parameter) * PERTURBATION)
            for layer in (
                self.model.class_embed,
                *self.model.transformer.enc_out_class_embed,
            ):
                layer.weight[-1] = 0.0
                layer.bias[-1] = DEAD_BIAS

    def _images(self, batch_size: int) -> Tensor:
        return images_of(batch_size, self.size).to(self.device)

    def save(self, path: Path) -> None:
        """Write the weights in rfdetr's layout."""
        names = [f'class {number}' for number in range(NUM_CLASSES)]
        args = dict(
            num_classes=NUM_CLASSES, class_names=names, resolution=self.size
        )
        torch.save(dict(model=self.model.state_dict(), args=args), path)

    def forward(self, batch_size: int) -> Callable[[], Any]:
        """From normalised images to logits and boxes."""
        images, model = self._images(batch_size), self.model.eval()

        @torch.no_grad()
        def work() -> tuple[Tensor, Tensor]:
            outputs = model(images)
            return outputs['pred_logits'], outputs['pred_boxes']

        return work

    def optimize(self, batch_size: int) -> None:
        """Switch its own fast path on: TorchScript of a fixed batch."""
        self.wrapper.inference(compile=True, batch_size=batch_size)

    def predict(self, image: np.ndarray) -> Callable[[], Any]:
        """From an RGB array to detections."""
        return lambda: self.wrapper.predict(image, threshold=0.0)

    def train_step(
        self, batch_size: int, clock: PhaseClock
    ) -> Callable[[], Any]:
        """One step as rfdetr's Lightning module and trainer make it."""
        from rfdetr._namespace import _namespace_from_configs
        from rfdetr.config import TrainConfig
        from rfdetr.models import build_criterion_from_config
        from rfdetr.training.param_groups import get_param_dict
        from rfdetr.utilities.tensors import nested_tensor_from_tensor_list

        config = TrainConfig(dataset_dir='.')
        model_config = self.wrapper.model_config
        criterion, _ = build_criterion_from_config(model_config, config)
        groups = get_param_dict(
            _namespace_from_configs(model_config, config), self.model
        )
        optimizer = torch.optim.AdamW(
            groups, lr=config.lr, weight_decay=config.weight_decay
        )
        images = nested_tensor_from_tensor_list(
            list(images_of(batch_size, self.size))
        )
        targets = [
            dict(boxes=boxes, labels=labels, orig_size=torch.tensor([1, 1]))
            for boxes, labels in boxes_of(batch_size)
        ]
        parameters = [p for p in self.model.parameters() if p.requires_grad]

        def work() -> float:
            self.model.train()
            criterion.train()
            clock.start()
            outputs = self.model(images, targets)
            clock.done('forward')
            terms = criterion(outputs, targets)
            weights = criterion.weight_dict
            loss = torch.stack(
                [terms[k] * weights[k] for k in terms if k in weights]
            ).sum()
            clock.done('loss')
            loss.backward()
            clock.done('backward')
            nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            clock.done('optimiser')
            return float(loss)

        return work

    def onnx_file(self, folder: Path) -> Path:
        """Export it by its own exporter."""
        return Path(self.wrapper.export(output_dir=str(folder), verbose=False))


class Ours:
    """This package's model of a variant.

    Args:
        variant: One of ``VARIANTS``.
        weights: File of rfdetr's layout; None for new random weights.
        device: Of the model.
    """

    def __init__(
        self,
        variant: str,
        weights: Path | None = None,
        device: str = 'cpu',
    ) -> None:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
        from mmengine.config import Config
        from mmengine.runner import load_checkpoint

        import rfdetr_mm  # noqa: F401  registers

        register_all_modules(init_default_scope=True)
        self.variant, self.device = variant, device
        name = f'rfdetr_{variant}_coco.py'
        self.cfg = Config.fromfile(ROOT / 'configs' / 'rfdetr' / name)
        self.size = self.cfg.image_size
        self.weights = weights
        torch.manual_seed(0)
        self.model: nn.Module = MODELS.build(self.cfg.model)
        if weights is not None:
            load_checkpoint(self.model, str(weights), map_location='cpu')
        self.model.to(device)

    def _images(self, batch_size: int) -> Tensor:
        return images_of(batch_size, self.size).to(self.device)

    def samples(self, objects: Sequence[tuple[Tensor, Tensor]]) -> list:
        """Mmdet's samples of images with these objects, see boxes_of."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
        from mmengine.structures import InstanceData

        hw = (self.size, self.size)
        meta = dict(batch_input_shape=hw, img_shape=hw, ori_shape=hw)
        samples = []
        for boxes, labels in objects:
            sample = DetDataSample(metainfo=dict(meta, scale_factor=(1, 1)))
            sample.gt_instances = InstanceData(
                bboxes=bbox_cxcywh_to_xyxy(boxes) * self.size, labels=labels
            )
            samples.append(sample)
        return samples

    def forward(self, batch_size: int) -> Callable[[], Any]:
        """From normalised images to logits and boxes."""
        images, model = self._images(batch_size), self.model.eval()

        @torch.no_grad()
        def work() -> tuple[Tensor, Tensor]:
            cls_scores, bbox_preds = model(images, mode='tensor')
            return cls_scores[-1], bbox_preds[-1]

        return work

    def predict(self, image: np.ndarray) -> Callable[[], Any]:
        """From an RGB array to detections, by the inferencer."""
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

        return getattr(apis, f'RFDETR{self.variant.capitalize()}')(
            num_classes=NUM_CLASSES,
            pretrain_weights=str(self.weights),
            device=self.device,
        )

    def train_step(
        self, batch_size: int, clock: PhaseClock
    ) -> Callable[[], Any]:
        """One step as mmengine's Runner makes it."""
        from mmengine.optim import build_optim_wrapper

        wrapper = build_optim_wrapper(self.model, self.cfg.optim_wrapper)
        images = images_of(batch_size, self.size)
        samples = self.samples(boxes_of(batch_size))
        objects = [sample.gt_instances for sample in samples]
        img_metas = [sample.metainfo for sample in samples]
        head = self.model.bbox_head

        def work() -> float:
            self.model.train()
            clock.start()
            feats = self.model.extract_feat(images)
            outs = head._decode(feats, samples, head.num_groups)
            clock.done('forward')
            losses = head.loss_by_feat(outs, objects, img_metas)
            loss, _ = self.model.parse_losses(losses)
            clock.done('loss')
            wrapper.backward(loss)
            clock.done('backward')
            wrapper.step()
            wrapper.zero_grad()
            clock.done('optimiser')
            return float(loss)

        return work

    def onnx_file(self, folder: Path) -> Path:
        """Export it by this package's exporter, raw outputs.

        Raises:
            NotImplementedError: If there is none.
        """
        try:
            from rfdetr_mm.deploy.export import deploy_config, export
        except ImportError as error:
            raise NotImplementedError(f'no export here: {error}') from error
        deploy_cfg = deploy_config('detection', 'onnxruntime', layout='raw')
        (file,) = export(
            self.cfg, self.weights, deploy_cfg, folder, progress=_quiet
        )
        return file


def _quiet(line: str) -> None:
    """Take no notice."""


def session_work(file: Path, images: Tensor) -> Callable[[], Any]:
    """Run an ONNX file in ONNX Runtime, with torch's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        file.read_bytes(), options, ['CPUExecutionProvider']
    )
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def start_up_code(side: str, variant: str, weights: Path) -> str:
    """A program from the imports to the first prediction."""
    image = 'np.zeros((480, 640, 3), np.uint8)'
    if side == 'rfdetr':
        name = f'RFDETR{variant.capitalize()}'
        return (
            f'import numpy as np; from rfdetr import {name}\n'
            f'model = {name}(num_classes={NUM_CLASSES}, device="cpu", '
            f'pretrain_weights={str(weights)!r})\n'
            f'print(len(model.predict({image}, threshold=0.0)))'
        )
    config = ROOT / 'configs' / 'rfdetr' / f'rfdetr_{variant}_coco.py'
    return (
        'import numpy as np; from rfdetr_mm.apis import RFDETRInferencer\n'
        f'model = RFDETRInferencer({str(config)!r}, {str(weights)!r}, '
        'device="cpu", show_progress=False)\n'
        f'print(len(model({image})["predictions"]))'
    )


def largest_difference(ours: Sequence, theirs: Sequence) -> float:
    """Of logits and boxes that both sides gave for the same images."""
    scores, boxes = ours
    their_scores, their_boxes = theirs
    return max(
        float((scores - their_scores[..., : scores.shape[-1]]).abs().max()),
        float((boxes - their_boxes).abs().max()),
    )

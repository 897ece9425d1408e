"""How long a sub-network takes for one image, on this device."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accuracy import build_model
from extraction import extract_config, extract_weights
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import Tensor

from rfdetr_mm.checkpoints import write_checkpoint
from rfdetr_mm.errors import InputError
from rfdetr_mm.models import Subnet
from rfdetr_mm.stack import autocast

Run = Callable[[Tensor], object]


class Latency:
    """Times extracted sub-networks.

    From the normalised image to detections, batch 1: what comes before and
    after is the same for all sub-networks of an image size.

    Args:
        cfg: The supernet's config.
        weights: Its state dict.
        backend: 'pytorch', or a backend that ``rfdetr_mm.deploy`` exports
            to, such as 'onnxruntime' or 'tensorrt'.
        device: Such as 'cpu' or 'cuda:0'.
        precision: 'fp32' or 'fp16'.
        warmup: Runs before the clock starts.
        repeats: Runs that are timed; the median counts.
    """

    def __init__(
        self,
        cfg: Config,
        weights: dict[str, Tensor],
        backend: str,
        device: str,
        precision: str = 'fp32',
        warmup: int = 3,
        repeats: int = 15,
    ) -> None:
        self.cfg = cfg
        self.weights = weights
        self.backend = backend
        self.device = device
        self.precision = precision
        self.warmup = warmup
        self.repeats = repeats

    @torch.no_grad()
    def measure(self, subnet: Subnet) -> float:
        """Time a real point.

        Args:
            subnet: The point.

        Returns:
            The median in ms.
        """
        image = torch.zeros(1, 3, *subnet.resolution, device=self.device)
        with tempfile.TemporaryDirectory() as folder:
            if self.backend == 'pytorch':
                run = self._pytorch(subnet)
            else:
                run = self._exported(subnet, Path(folder))
            for _ in range(self.warmup):
                run(image)
            times = []
            for _ in range(self.repeats):
                self._wait()
                start = time.perf_counter()
                run(image)
                self._wait()
                times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)

    def _wait(self) -> None:
        if self.device.startswith('cuda'):
            torch.cuda.synchronize(self.device)

    def _pytorch(self, subnet: Subnet) -> Run:
        model = build_model(
            extract_config(self.cfg, subnet),
            extract_weights(self.weights, subnet),
            self.device,
        )
        size = subnet.resolution
        samples = [
            DetDataSample(
                metainfo=dict(
                    img_shape=size,
                    ori_shape=size,
                    batch_input_shape=size,
                    scale_factor=(1.0, 1.0),
                )
            )
        ]
        dtype = torch.float16 if self.precision == 'fp16' else torch.float32
        kind = torch.device(self.device).type

        def run(image: Tensor) -> object:
            with autocast(kind, dtype):
                return model(image, samples, mode='predict')

        return run

    def _exported(self, subnet: Subnet, folder: Path) -> Run:
        try:
            from mmdeploy.backend.base import get_backend_manager
            from mmdeploy.utils import get_backend

            from rfdetr_mm.deploy.export import deploy_config, export
        except ImportError as error:
            raise InputError(
                f'--backend {self.backend} exports the sub-networks, for '
                f'which {error.name} is missing: see "Deployment" in the '
                'README for what to install, or take --backend pytorch'
            ) from error
        cfg = extract_config(self.cfg, subnet)
        checkpoint = folder / 'subnet.pth'
        write_checkpoint(
            dict(state_dict=extract_weights(self.weights, subnet), meta={}),
            checkpoint,
        )
        masks = cfg.model.bbox_head.type == 'RFDETRInsHead'
        deploy_cfg = deploy_config(
            'instance-seg' if masks else 'detection',
            self.backend,
            self.precision,
            subnet.resolution,
        )
        files = export(
            cfg,
            checkpoint,
            deploy_cfg,
            folder,
            device=self.device,
            progress=lambda line: None,
        )
        name = get_backend(deploy_cfg).value
        wrapper = get_backend_manager(name).build_wrapper(
            list(map(str, files)),
            self.device,
            input_names=['input'],
            output_names=list(deploy_cfg.onnx_config.output_names),
            deploy_cfg=deploy_cfg,
        )
        return lambda image: wrapper({'input': image})

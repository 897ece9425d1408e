"""The page that users of rfdetr know, on top of mmdet's modules."""

import contextlib
import dataclasses
import functools
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from rfdetr_mm.checkpoints import check_licence, read_checkpoint
from rfdetr_mm.engine.batch_size import propose_batch_size
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.files import check_writable
from rfdetr_mm_light.sizes import SIZES, Size

from .arguments import device_named, training_device
from .dataset_grids import save_grids
from .devices import device_name
from .export_request import make_request
from .exporting import run_export
from .launching import train_in_processes
from .model_config import ModelConfig, fill_in_model
from .predictor import Predictor
from .recipe import fill_in_training
from .report import check_report, metric_of, report_evaluation, speed_of
from .roboflow_upload import (
    deploy_to_roboflow,
    warn_of_other_size,
    write_roboflow_bundle,
)
from .saved_model import identify
from .train_config import TrainConfig, make_train_config
from .training import (
    find_data,
    run_evaluation,
    write_training_config,
)


class RFDETR(Predictor):
    """What all sizes have in common; use ``RFDETRNano`` and the like.

    Args:
        **kwargs: Fields of :class:`~rfdetr_mm.apis.model_config.ModelConfig`.

    Source: rfdetr 1.11.2, detr.py, RFDETR (interface).
    """

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        trust_checkpoint: bool = False,
        **kwargs: Any,
    ) -> 'RFDETR':
        """Load a trained model; its class is found in the file.

        Takes files of rfdetr and of this package.

        Args:
            path: The checkpoint file.
            trust_checkpoint: Not needed: files are read as data alone.
            **kwargs: Fields of
                :class:`~rfdetr_mm.apis.model_config.ModelConfig`; they win
                over what the file says, but ``path`` is the weights.

        Returns:
            A model of the class that the file is of.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If it cannot be read, stores no training arguments or
                its class cannot be inferred, or a published XL or 2XL file's
                licence is not accepted.
        """
        path = os.path.expanduser(os.fspath(path))
        accepted = kwargs.get('accept_platform_model_license', False)
        check_licence(os.path.basename(path), accepted)
        content = read_checkpoint(path)
        saved = identify(path, content)
        model_class = CLASSES[saved.variant.class_name]
        fields = {**saved.fields, **kwargs, 'pretrain_weights': path}
        model = model_class.__new__(model_class)
        model._set_up(model_class.get_model_config(**fields), content)
        model._was_trained = True
        return model

    @classmethod
    def get_train_config(cls, **kwargs: Any) -> TrainConfig:
        """Make the configuration of a training.

        Args:
            **kwargs: Fields of
                :class:`~rfdetr_mm.apis.train_config.TrainConfig`.

        Raises:
            InputError: If a field is unknown or has an impossible value;
                the message names the nearest field.
        """
        return make_train_config(kwargs, f'{cls.__name__}.train()')

    def train(self, **kwargs: Any) -> None:
        """Train on a data set; the model is the trained one afterwards.

        Starts from ``pretrain_weights``; :meth:`predict` and :meth:`export`
        use the best averaged weights then, which are also in
        ``output_dir/checkpoint_best_total.pth``.

        Args:
            **kwargs: Fields of
                :class:`~rfdetr_mm.apis.train_config.TrainConfig`, first of
                all ``dataset_dir``; and ``resolution`` and ``device``, which
                the model keeps.

        Raises:
            InputError: If an argument is unknown or has an impossible value,
                or the data set cannot be used.
        """
        self.model.require_model('train it')
        if self._was_trained and not kwargs.get('resume'):
            warnings.warn(
                'This model was trained before. train() starts again from '
                'pretrain_weights, not from the weights in memory; '
                'resume=CHECKPOINT goes on with a training.',
                stacklevel=2,
            )
        given = kwargs.pop('device', None)
        resolution = kwargs.pop('resolution', None)
        config = self.get_train_config(**kwargs)
        device = training_device(
            given or device_named(config.accelerator), self.model_config.device
        )
        model_config = dataclasses.replace(self.model_config, device=device)
        if resolution is not None:
            model_config.set_resolution(resolution)
        cfg, found = self._training_cfg(model_config, config)
        names = cfg.train_dataloader.dataset.metainfo.classes
        model_config.num_classes = len(names)
        if model_config.use_grouppose_keypoints:
            counts = list(cfg.model.bbox_head.num_keypoints)
            model_config.num_keypoints_per_class = counts
        write_training_config(config, model_config, names, type(self).__name__)
        if config.save_dataset_grids:
            save_grids(cfg, Path(config.output_dir, 'dataset_grids'))
        best = str(train_in_processes(cfg, config, device, found))
        model = self.get_model(model_config, read_checkpoint(best), best)
        self.model, self.model_config = model, model_config
        self._was_trained = True
        self._dataset_dir = config.dataset_dir
        if config.run_test:
            metrics = self.evaluate(
                output_dir=config.output_dir, num_workers=config.num_workers
            )
            print_log(f'Test split: {metrics}', logger='current')

    def _training_cfg(
        self, model_config: ModelConfig, train: TrainConfig
    ) -> tuple[Config, str]:
        """The complete config of a training, and what its data set is."""

        def make() -> tuple[Config, str]:
            cfg = read_config_of(self.variant)
            fill_in_model(cfg, model_config)
            fill_in_training(cfg, self.variant, model_config, train)
            return cfg, find_data(cfg)

        if train.batch_size == 'auto':
            train.batch_size = 1
            cfg, _ = make()
            train.batch_size, train.grad_accum_steps = propose_batch_size(
                cfg, train.auto_batch_target_effective
            )
        return make()

    def evaluate(
        self,
        split: str = 'test',
        dataset_dir: str | os.PathLike | None = None,
        report: str | os.PathLike | None = None,
        against: str | os.PathLike | None = None,
        test: Callable[[Runner], dict[str, float]] = Runner.test,
        **kwargs: Any,
    ) -> dict[str, float]:
        """Evaluate the model on a data set by COCO's metrics.

        The classes of the data set are found by the names of the model's.

        Args:
            split: ``'test'``, which is the validation split of a data set
                without one, or ``'val'``.
            dataset_dir: Folder of the data set; that of the last training by
                default.
            report: Folder for a report: a page, JSON and CSV.
            against: Folder of an earlier report, which the new one shows
                beside its own numbers.
            test: What runs the evaluation; this process by default, or
                ``RayEvaluation().test`` of
                :mod:`~rfdetr_mm.apis.evaluation_on_ray`.
            **kwargs: Fields of
                :class:`~rfdetr_mm.apis.train_config.TrainConfig`, such as
                ``batch_size``, and ``resolution`` and ``device``; those of
                training have no effect. Logs are written only if
                ``output_dir`` is given.

        Returns:
            mmdet's name of a metric, such as ``'coco/bbox_mAP'``, to its
            value.

        Raises:
            InputError: If the split or an argument is unknown, the data set
                cannot be used or has other classes, or the report cannot be
                written.
        """
        self.model.require_model('evaluate it')
        if split not in ('test', 'val'):
            raise InputError(f"split must be 'test' or 'val', got {split!r}")
        then = None
        if report is not None:
            then = functools.partial(
                self._report, report, split, check_report(report, against)
            )
        device = training_device(
            kwargs.pop('device', None), self.model_config.device
        )
        model_config = dataclasses.replace(self.model_config, device=device)
        if 'resolution' in kwargs:
            model_config.set_resolution(kwargs.pop('resolution'))
        with contextlib.ExitStack() as stack:
            if kwargs.get('output_dir') is None:
                kwargs['output_dir'] = stack.enter_context(
                    tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                )
            given = {**kwargs, 'dataset_dir': dataset_dir or self._dataset_dir}
            where = f'{type(self).__name__}.evaluate()'
            return self._evaluate(
                split,
                model_config,
                make_train_config(given, where),
                then,
                test,
            )

    def _evaluate(
        self,
        split: str,
        model_config: ModelConfig,
        config: TrainConfig,
        then: Callable[[Runner], None] | None,
        test: Callable[[Runner], dict[str, float]],
    ) -> dict[str, float]:
        if config.batch_size == 'auto':
            config.batch_size = TrainConfig.batch_size
        config.class_names = self.class_names
        cfg = read_config_of(self.variant)
        fill_in_model(cfg, model_config)
        fill_in_training(cfg, self.variant, model_config, config)
        find_data(cfg, only=split)
        weights = self.model.model.state_dict()
        return run_evaluation(
            cfg, model_config.device, weights, split, config, then, test
        )

    def _report(
        self,
        folder: str | os.PathLike,
        split: str,
        against: dict[str, Any] | None,
        runner: Runner,
    ) -> None:
        dataset = runner.test_dataloader.dataset
        where = Path(runner.cfg.data_root).resolve().name
        report_evaluation(
            metric_of(runner.test_evaluator),
            dataset,
            folder,
            f'{type(self).__name__} on {where}, {split}',
            against,
            speed_of(
                functools.partial(self.predict, threshold=0.0),
                dataset.get_data_info(0)['img_path'],
                device_name(self.model.device),
            ),
        )

    def export(
        self,
        output_dir: str | os.PathLike = 'output',
        infer_dir: str | None = None,
        backbone_only: bool = False,
        opset_version: int = 17,
        verbose: bool = True,
        shape: tuple[int, int] | None = None,
        batch_size: int = 1,
        dynamic_batch: bool = False,
        patch_size: int | None = None,
        format: str = 'onnx',
        quantization: str | None = None,
        calibration_data: str | os.PathLike | np.ndarray | None = None,
        max_images: int = 100,
        *,
        backend: str | None = None,
        soc: str | None = None,
        fp16: bool = True,
        max_batch_size: int | None = None,
        notes: object = None,
        coreml_precision: str | None = None,
        coreai_precision: str | None = None,
        openvino_precision: str | None = None,
        output_name: str | None = None,
        layout: str = 'end2end',
        inference_precision: str | None = None,
        simplify: bool = False,
        force: bool = False,
    ) -> Path:
        """Write the model as a file for another runtime.

        ``rfdetr_runtime.load(FILE).predict(IMAGE)`` uses it, without torch.
        The graph takes normalised images, ``input``, and gives ``dets`` (x1,
        y1, x2, y2 in pixels of the input, and the score, best first),
        ``labels`` and ``masks`` (logits); ``features`` of the backbone alone.
        The model itself is not touched.

        Args:
            output_dir: Folder for the file, which is named after the size.
            infer_dir: Not used, as in rfdetr.
            backbone_only: Export the backbone with its projector alone.
            opset_version: Version of ONNX's operators, 16 at least.
            verbose: Whether to log what is done.
            shape: (height, width) in pixels; the square of ``resolution`` by
                default.
            batch_size: Images that the graph takes.
            dynamic_batch: Any number of images instead (not TFLite,
                ExecuTorch, ncnn and Core ML).
            patch_size: The model's, only checked.
            format: ``'onnx'``, ``'tflite'``, ``'openvino'``,
                ``'executorch'`` (or ``'pte'``), ``'ncnn'``, ``'coreml'``
                or ``'tensorrt'``.
            quantization: ``'fp32'`` (or None), ``'fp16'`` or ``'int8'``, as
                far as the format has it.
            calibration_data: Images for ``'int8'``: a folder, a ``.npy`` file
                or an array (N, H, W, 3), float32 in [0, 1]. Without them the
                weights alone are quantised, with a warning.
            max_images: Largest number of them that is taken of a folder.
            backend: What runs an ExecuTorch file; only ``'xnnpack'``, the
                default.
            soc: Only None; for chips that XNNPACK does not need.
            fp16: Whether a TensorRT engine is in fp16 unless
                ``quantization`` says otherwise.
            max_batch_size: The largest batch of a TensorRT engine with
                ``dynamic_batch``.
            notes: Text, or what JSON can hold, for ``rfdetr_notes`` of the
                file's metadata.
            coreml_precision: ``'float32'`` or ``'float16'``, another word
                for ``quantization`` with Core ML.
            coreai_precision: Not used; Core AI is not a format here.
            openvino_precision: ``'float32'`` or ``'float16'``, another word
                for ``quantization`` with OpenVINO.
            output_name: The name of the file without its suffix, instead of
                one that is made of size and precision.
            layout: ``'end2end'``, or ``'raw'`` for what upstream's own files
                give: ``dets`` (normalised cx, cy, w, h) and ``labels``
                (logits with upstream's class rows) of all queries.
            inference_precision: What OpenVINO is told to compute in,
                ``'f32'``, ``'bf16'`` or ``'f16'``, written into the file's
                metadata. By default ``'f32'``, and for ``'int8'`` OpenVINO's
                own choice, which is bf16 on a CPU that has it.
            simplify: Deprecated, does nothing: the graph is folded anyway.
            force: Deprecated, does nothing.

        Returns:
            The file.

        Raises:
            InputError: If an argument is impossible, or the format does not
                have the quantization.
            FileNotFoundError: If there are no images to calibrate with.
            ImportError: If an extra is not installed; it is named.
            RuntimeError: If the model was optimised in place.
        """
        self.model.require_model('export it')
        for name, value in (('simplify', simplify), ('force', force)):
            if value:
                warnings.warn(
                    f'export(): {name} is deprecated and does nothing.',
                    DeprecationWarning,
                    stacklevel=2,
                )
        request = make_request(
            self.model_config,
            backbone_only=backbone_only,
            opset_version=opset_version,
            shape=shape,
            batch_size=batch_size,
            dynamic_batch=dynamic_batch,
            patch_size=patch_size,
            format=format,
            quantization=quantization,
            calibration_data=calibration_data,
            max_images=max_images,
            backend=backend,
            soc=soc,
            fp16=fp16,
            max_batch_size=max_batch_size,
            notes=notes,
            coreml_precision=coreml_precision,
            coreai_precision=coreai_precision,
            openvino_precision=openvino_precision,
            output_name=output_name,
            layout=layout,
            inference_precision=inference_precision,
        )
        check_writable(output_dir)
        return run_export(
            self.model, request, Path(output_dir), self.size, verbose
        )

    def deploy_to_roboflow(
        self,
        workspace: str,
        project_id: str,
        version: int | str | None = None,
        api_key: str | None = None,
        size: str | None = None,
    ) -> None:
        """Upload the model as the trained model of a data set's version.

        Args:
            workspace: Roboflow's name of the workspace.
            project_id: Roboflow's name of the project in it.
            version: Number of the project's version; the newest one if None.
            api_key: The account's; ``$ROBOFLOW_API_KEY`` by default.
            size: Roboflow's name of the architecture; that of the class by
                default.

        Raises:
            InputError: If there is no key or no size.
            ImportError: If the package roboflow is not installed.
            RuntimeError: If Roboflow does not take it.
        """
        detector = self.model.require_model('deploy it')
        warn_of_other_size(size, self.size)
        deploy_to_roboflow(
            detector,
            self.class_names,
            self.model.cfg,
            workspace,
            project_id,
            version,
            api_key,
            size or self.size,
        )

    def export_for_roboflow(self, output_dir: str | os.PathLike) -> None:
        """Write what :meth:`deploy_to_roboflow` uploads into a folder.

        Args:
            output_dir: Folder for ``weights.pt``, which rfdetr loads as well,
                and ``class_names.txt``.
        """
        detector = self.model.require_model('export it')
        write_roboflow_bundle(
            output_dir, detector, self.class_names, self.model.cfg
        )


def _class_of(size: Size) -> type[RFDETR]:
    terms = ''
    if size.licence != 'Apache-2.0':
        terms = f' Weights under {size.licence}.'
    text = f'{size.title}, {size.image_px} px.{terms}'
    # Pickle looks for it in the package, not in this module.
    content = dict(
        variant=size, __doc__=text, __module__=__name__.rpartition('.')[0]
    )
    return type(size.class_name, (RFDETR,), content)


CLASSES: dict[str, type[RFDETR]] = {
    name: _class_of(size) for name, size in SIZES.items()
}
"""Name to class of every size."""

"""Export a detector: ``deploy.py DEPLOY_CONFIG CONFIG CHECKPOINT IMAGE``.

The arguments are those of mmdeploy's tool of the same name, which works as
well (see docs/deployment.md); this one runs in one process and says what is
wrong in one line.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from run_config import (
    OptionAction,
    check_checkpoint,
    input_errors_in_one_line,
    merge_options,
    require_deploy,
    stop,
)

# Those of mmdeploy's tool.
LOG_LEVELS = (
    *('CRITICAL', 'FATAL', 'ERROR', 'WARN'),
    *('WARNING', 'INFO', 'DEBUG', 'NOTSET'),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('deploy_cfg', help='deploy config, of configs/deploy')
    parser.add_argument('model_cfg', help='config of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('img', help='image that both models are tried on')
    parser.add_argument(
        '--test-img',
        nargs='+',
        help='images to try both models on instead',
    )
    parser.add_argument('--work-dir', default='.', help='folder of the files')
    parser.add_argument(
        '--calib-dataset-cfg',
        help='config whose validation images calibrate int8 (default: the '
        "model's)",
    )
    parser.add_argument(
        '--quant-image-dir', help='folder of images that calibrate int8'
    )
    parser.add_argument('--device', default='cpu', help='such as cuda:0')
    parser.add_argument(
        '--log-level',
        default='WARNING',
        choices=LOG_LEVELS,
        help="of mmdeploy's messages",
    )
    parser.add_argument(
        '--show', action='store_true', help='show the pictures in a window'
    )
    parser.add_argument(
        '--dump-info',
        action='store_true',
        help="write the files that mmdeploy's SDK reads",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help="change entries of the model's config; resolution=512 or "
        'resolution="(384,512)", (height, width) in pixels, is the image size '
        'that it is exported for',
    )
    # Of mmdeploy's tool, for backends that RF-DETR has no configs for
    parser.add_argument('--quant', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--uri', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.quant or args.uri:
        stop(
            '--quant and --uri are for ncnn and devices; int8 is set by the '
            'deploy config here, e.g. detection_onnxruntime-int8_static.py'
        )
    return args


def calibration(
    args: argparse.Namespace, model_cfg: object, task: object
) -> object:
    """Images for a static int8 export, None if it needs none."""
    from mmdeploy.utils import get_calib_filename

    from rfdetr_mm.deploy.calibration import (
        dataset_calibration,
        folder_calibration,
    )

    if args.quant_image_dir:
        return folder_calibration(args.quant_image_dir, task)
    if get_calib_filename(task.deploy_cfg) is None:
        return None
    source = args.calib_dataset_cfg or model_cfg
    return dataset_calibration(source, task)


def check_device(name: str, deploy_cfg: object) -> None:
    """Complain about a device that is not there, or is the wrong one.

    Raises:
        InputError: With what to do.
    """
    from mmdeploy.utils import Backend, get_backend

    from rfdetr_mm.apis.devices import find_device
    from rfdetr_mm.errors import InputError

    device = find_device(name)
    if get_backend(deploy_cfg) is Backend.TENSORRT and device.type != 'cuda':
        raise InputError(
            'TensorRT builds its engine on the NVIDIA GPU that it is for: '
            f'--device cuda:0 on such a machine, got {name}'
        )


def paint(
    args: argparse.Namespace,
    model_cfg: object,
    task: object,
    files: list[Path],
) -> None:
    """Paint the detections of both models."""
    from mmdeploy.apis import visualize_model
    from mmdeploy.utils import Backend, get_backend

    backend = get_backend(task.deploy_cfg)
    for kind, model in ((backend, files), (Backend.PYTORCH, args.checkpoint)):
        target = Path(args.work_dir, f'output_{kind.value}.jpg')
        visualize_model(
            model_cfg,
            args.deploy_cfg,
            [str(file) for file in files] if kind is backend else model,
            args.test_img or args.img,
            args.device,
            kind,
            str(target),
            args.show,
        )
        print(f'painted {target}')


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Export, paint, and return the files."""
    args = parse_args(argv)
    check_checkpoint(args.checkpoint, 'the command line')
    images = args.test_img or [args.img]
    for path in (args.deploy_cfg, args.model_cfg, *images):
        if not Path(path).is_file():
            stop(f'there is no file {path} (seen from {Path.cwd()})')
    with input_errors_in_one_line():
        require_deploy()
        from mmdeploy.apis import build_task_processor
        from mmdeploy.utils import (
            Backend,
            get_backend,
            get_codebase_config,
            get_root_logger,
        )
        from mmengine.config import Config

        from rfdetr_mm.deploy.export import export

        get_root_logger().setLevel(args.log_level)
        deploy_cfg = Config.fromfile(args.deploy_cfg)
        model_cfg = Config.fromfile(args.model_cfg)
        merge_options(model_cfg, args.cfg_options or {})
        check_device(args.device, deploy_cfg)
        task = build_task_processor(model_cfg, deploy_cfg, args.device)
        files = export(
            model_cfg,
            args.checkpoint,
            deploy_cfg,
            args.work_dir,
            device=args.device,
            calibration=calibration(args, model_cfg, task),
        )
        if args.dump_info:
            from mmdeploy.backend.sdk.export_info import export2SDK

            export2SDK(
                deploy_cfg,
                model_cfg,
                args.work_dir,
                pth=args.checkpoint,
                device=args.device,
            )
        if get_backend(deploy_cfg) is Backend.COREML:
            print('nothing is painted: files for Apple do not run here')
        elif not get_codebase_config(deploy_cfg).get('backbone_only'):
            paint(args, model_cfg, task, files)
    return files


if __name__ == '__main__':
    main()

"""Write a model as a file for another runtime.

Examples:
  rfdetr-mm export --weights best.pth --format onnx --output-dir exported
  rfdetr-mm export --model nano --format openvino --shape 384 512
  rfdetr-mm export --model nano --quantization int8 --calibration-data photos/
"""

import argparse

from rfdetr_mm_light.exported_files import INFERENCE_PRECISIONS

from .options import add_model_options, check_model_options

FORMATS = (
    'onnx',
    'openvino',
    'executorch',
    'ncnn',
    'coreml',
    'tensorrt',
    'tflite',
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='onnx',
        help='default: onnx',
    )
    parser.add_argument(
        '--output-dir', default='output', help='default: output'
    )
    parser.add_argument(
        '--output-name',
        metavar='NAME',
        help='of the file, without suffix (default: of size and precision)',
    )
    parser.add_argument(
        '--notes', metavar='TEXT', help="for the file's metadata"
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='of its input in pixels (default: the square of the resolution)',
    )
    parser.add_argument('--batch-size', type=int, metavar='N')
    parser.add_argument(
        '--dynamic-batch', action='store_true', help='any number of images'
    )
    parser.add_argument(
        '--backbone-only', action='store_true', help='features, no detections'
    )
    parser.add_argument(
        '--opset-version', type=int, metavar='N', help="ONNX's (default: 17)"
    )
    parser.add_argument(
        '--layout',
        choices=('end2end', 'raw'),
        help="outputs: the best detections, or the network's boxes and "
        "logits as in rfdetr's own files (default: end2end)",
    )
    parser.add_argument(
        '--inference-precision',
        choices=INFERENCE_PRECISIONS,
        help='what OpenVINO is told to compute in (default: f32; for int8 '
        "OpenVINO's choice, which is bf16 on a CPU that has it)",
    )
    parser.add_argument('--quantization', choices=('fp32', 'fp16', 'int8'))
    parser.add_argument(
        '--calibration-data',
        metavar='FOLDER',
        help='images for int8, or a .npy file',
    )
    parser.add_argument(
        '--max-images', type=int, metavar='N', help='of them (default: 100)'
    )
    add_model_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a network.

    Raises:
        UsageError: If no model was chosen.
        InputError: If a file or folder is missing.
    """
    check_model_options(args)

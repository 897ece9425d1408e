"""What the environments of ``make env`` have, by stack.

Tests of an optional package skip where it is missing (``importorskip``).
``make test`` names its stack, and there nothing may be missing but what is
listed here with its reason: otherwise not one test runs.
"""

from collections.abc import Callable, Container
from importlib.util import find_spec

from rfdetr_mm_light.stack import DISTRIBUTIONS

# Names of the packages, as imported, that tests skip without.
OPTIONAL = (
    'ai_edge_litert',
    'ai_edge_quantizer',
    'coremltools',
    'executorch',
    'fiftyone',
    'gradio',
    'kornia',
    'label_studio_sdk',
    'litert_torch',
    'mim',
    'mlflow',
    'mmdeploy',
    'modelindex',
    'moto',
    'ncnn',
    'nncf',
    'onnx',
    'onnxruntime',
    'openvino',
    'optuna',
    'peft',
    'pnnx',
    'pytorch_lightning',
    'ray',
    'rfdetr',
    'roboflow',
    's3fs',
    'safetensors',
    'sahi',
    'seaborn',
    'selenium',
    'supervision',
    'tensorboard',
    'torch_linear_assignment',
    'trackers',
    'transformers',
    'vernier',
    'wandb',
)
NEWER_TORCH = 'wants a newer torch than mmcv 2.1.0 compiles with'
# Ray, and what stands in for a bucket
SCALE = {
    name: 'is not in the locks; make scale-test runs its tests'
    for name in ('ray', 'moto', 's3fs')
}
_FRIEND = (
    'is not in the locks; docs/ecosystem.md says how to run its tests in an '
    'environment of their own'
)
FRIENDS = dict.fromkeys(
    ('fiftyone', 'label_studio_sdk', 'sahi', 'trackers'), _FRIEND
)
# stack: what its environment cannot have, and why.
ABSENT = {
    'onedl': {
        **FRIENDS,
        'seaborn': 'is not needed here',
        'executorch': 'is for torch 2.14 alone, COMPILE_OPS=1 has torch 2.9; '
        'pip install executorch==1.5.1 into an environment to run its tests',
        'ncnn': 'is not in the locks; pip install ncnn pnnx into an '
        'environment to run its tests',
        'pnnx': 'is not in the locks, as ncnn',
        'coremltools': 'is not in the locks; pip install coremltools==9.0 '
        'into an environment to run its tests',
        'kornia': 'is not in the locks; pip install kornia==0.9.0 into an '
        'environment to run its tests',
        **SCALE,
    },
    'openmmlab': {
        **FRIENDS,
        'ai_edge_litert': 'runs what litert_torch makes',
        'ai_edge_quantizer': 'works on what litert_torch makes',
        'coremltools': 'is not in the locks',
        'executorch': NEWER_TORCH,
        'kornia': 'is not in the locks',
        'litert_torch': NEWER_TORCH,
        'ncnn': 'is not in the locks',
        'nncf': 'imports torch, and was not tried with 2.1',
        **SCALE,
        'pnnx': 'is not in the locks',
        'seaborn': "is wanted by mmdet's analyze_logs alone",
        'rfdetr': f'{NEWER_TORCH}; its numbers are in tests/parity/golden',
        'torch_linear_assignment': 'comes with rfdetr',
    },
}


# stack: the distribution that only it has.
DISTRIBUTION = dict(zip(ABSENT, DISTRIBUTIONS['mmdet']))


def is_importable(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return find_spec(name) is not None


def complaint(
    stack: str,
    distributions: Container[str],
    has: Callable[[str], bool] = is_importable,
) -> str | None:
    """Say in one line what an environment lacks as one of a stack.

    Args:
        stack: 'onedl' or 'openmmlab'.
        distributions: Names of what is installed, as pip writes them.
        has: Whether a package can be imported, by its name.

    Returns:
        None if nothing is missing.
    """
    if DISTRIBUTION[stack] not in distributions:
        return (
            f'--stack={stack} was named, and {DISTRIBUTION[stack]} is not '
            'installed; name the stack of this environment'
        )
    missing = [n for n in OPTIONAL if n not in ABSENT[stack] and not has(n)]
    if missing:
        return (
            f'the environment of {stack} lacks {", ".join(missing)}, and '
            'tests would be skipped; make one with make env, or call pytest '
            'without --stack'
        )
    return None

"""Packaging of rfdetr_mm."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """The version, without importing the package."""
    scope: dict = {}
    exec((ROOT / 'rfdetr_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


# Both stacks are imported by the same names (mmengine, mmcv, mmdet) and
# cannot be installed side by side, so the core requires neither: an extra
# chooses one.
ONEDL = [
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
]
OPENMMLAB = ['mmengine>=0.10.7', 'mmcv>=2.1.0,<2.2.0', 'mmdet>=3.3.0']
TEST = [
    'rfdetr[train]==1.11.2',  # the parity oracle, imported by tests only
    'pytest>=8',
    'pytest-timeout>=2',
]

setup(
    name='rfdetr_mm',
    version=read_version(),
    description='RF-DETR as a native plugin of MMDetection',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['rfdetr_mm', 'rfdetr_mm.*']),
    install_requires=[
        'torch>=2.1',
        'numpy',
        'scipy',  # the Hungarian algorithm; mmdet needs it too
        'pillow',  # resizing to the pixel as upstream; mmcv needs it too
    ],
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        # mmdeploy declares pins that would downgrade protobuf and replace
        # OneDL's engine: install it with --no-deps beside this extra.
        'deploy': ['onnx>=1.16', 'onnxruntime>=1.18', 'aenum'],
        # torchao 0.18 breaks on torch 2.9.
        'tflite': ['litert-torch==0.10.0', 'torchao==0.17.0'],
        'test': TEST,
        'dev': [*TEST, 'ruff>=0.14', 'interrogate>=1.7'],
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)

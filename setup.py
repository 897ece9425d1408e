"""Packaging of rfdetr_mm.

mim and mmengine look for configs, tools and the model index in the folder
``.mim`` of an installed package; the demos are beside them. In a wheel these
are copies; a clone, an editable installation's too, gets links:
``python setup.py link_mim``.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
LIGHT = ROOT / 'rfdetr_mm_light'
MIM_CONTENT = runpy.run_path(str(LIGHT / 'shipped_files.py'))['SHIPPED']


def link_mim(folder: Path) -> None:
    """Fill a folder of this clone with links; other content goes."""
    if all((folder / name).is_symlink() for name in MIM_CONTENT):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    up = '../' * len(folder.relative_to(ROOT).parts)
    for name in MIM_CONTENT:
        (folder / name).symlink_to(up + name)


def copy_mim(folder: Path) -> None:
    """Fill a folder with copies; old content goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in MIM_CONTENT:
        source = ROOT / name
        if source.is_file():
            shutil.copy2(source, folder)
            continue
        # tools/dev is for clones: it needs requirements/ and the Makefile.
        unwanted = shutil.ignore_patterns('__pycache__', 'dev')
        shutil.copytree(source, folder / name, ignore=unwanted)


class LinkMim(Command):
    description = 'link configs, tools and model index into rfdetr_mm/.mim'
    user_options: list = []

    def initialize_options(self):
        pass

    def finalize_options(self):
        pass

    def run(self):
        link_mim(ROOT / 'rfdetr_mm' / '.mim')


class BuildPy(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            self.run_command('link_mim')
            return
        # onedl-mim 0.5.1 takes the folder of the first file in pip's sorted
        # list for the package. With a console script that is '..', unless a
        # name sorts before it: hence the second copy. It is made here and not
        # where bdist_wheel writes the metadata, because that step is skipped
        # where pip has had the metadata made already, as it does by default.
        for package in ('rfdetr_mm', '+rfdetr_mm'):
            copy_mim(Path(self.build_lib, package, '.mim'))


# Both stacks are imported by the same names (mmengine, mmcv, mmdet) and
# cannot be installed side by side, so the core requires neither: an extra
# chooses one, with all that `import rfdetr_mm`, the command rfdetr-mm (predict
# paints with supervision) and mim need. torch belongs to it and not to the
# core, which must not bring gigabytes to a machine that only runs exported
# files.
ONEDL = [
    'torch>=2.4',
    'torchvision>=0.19',
    'scipy',  # the Hungarian algorithm
    'onedl-mmengine>=0.10.12',
    # Pure Python where pip isolates the build, as it does by default.
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
    'onedl-mim>=0.5.1',
    'supervision>=0.25',
]
# The last releases, of 2023 and 2024, with what they were made for.
OPENMMLAB = [
    'torch>=2.1,<2.2',
    'torchvision>=0.16,<0.17',
    'scipy',
    'numpy<2',  # torch 2.1 is built for it
    'setuptools<81',  # mmengine imports pkg_resources to find a package
    'mmengine>=0.10.7',
    'mmcv>=2.1.0,<2.2.0',  # mmdet refuses later ones
    'mmdet>=3.3.0',
    'onedl-mim>=0.5.1',
    'supervision>=0.25',
]
TEST = [
    'rfdetr[train]==1.11.2',  # the parity oracle, imported by tests only
    'pytest>=8',
    'pytest-timeout>=2',
]

setup(
    name='rfdetr_mm',
    version=runpy.run_path(str(LIGHT / 'version.py'))['__version__'],
    description='RF-DETR as a native plugin of MMDetection',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    cmdclass={
        'build_py': BuildPy,
        'link_mim': LinkMim,
    },
    packages=find_packages(include=['rfdetr_mm*', 'rfdetr_runtime*']),
    package_data={
        'rfdetr_mm': ['py.typed'],
        'rfdetr_mm.checkpoints': ['weights/*.pth'],  # of the smallest size
        'rfdetr_mm_light': ['py.typed', 'sizes.csv'],
        'rfdetr_runtime': ['py.typed'],
    },
    # What every use needs; a stack or a runtime is an extra.
    install_requires=[
        'numpy',
        'Pillow',  # resizing to the pixel as upstream
    ],
    entry_points={
        'console_scripts': [
            'rfdetr-mm = rfdetr_mm_light.command_line.main:program',
        ],
    },
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        # What predict() of the upstream-style classes returns, and the client
        # of deploy_to_roboflow().
        'apis': ['supervision>=0.25', 'roboflow>=1.1'],
        # demo/web_demo.py
        'web': ['gradio>=5'],
        # mmdeploy declares pins that would downgrade protobuf and replace
        # OneDL's engine: install it with --no-deps beside this extra.
        'deploy': [
            'onnx>=1.16',
            'onnxruntime>=1.18',
            # What mmdeploy imports.
            'aenum',
            'grpcio',
            'h5py',
            'multiprocess',
            'prettytable',
        ],
        # Running exported files by rfdetr_runtime, nothing else: no torch.
        'onnx': ['onnxruntime>=1.18'],
        'openvino': ['openvino>=2025'],
        # Exporting int8 for OpenVINO. NNCF is OpenVINO's own quantiser and the
        # only one that its CPU plugin is made for; it knows transformers.
        'openvino-export': ['openvino>=2025', 'nncf>=3.4'],
        'tflite': ['ai-edge-litert>=2'],
        # Converts to ExecuTorch as well as running it, and brings torch to
        # both. Its compiled part is for one torch, of 1.5 for torch 2.14.
        'executorch': ['executorch>=1.5,<1.6', 'torch>=2.14,<2.15'],
        # Running ncnn models, which may be no older than pnnx: its graphs use
        # what the runtime of its time has.
        'ncnn': ['ncnn>=1.0.20261020'],
        # Exporting them; pnnx is the converter of ncnn's own authors, and
        # brings torch.
        'ncnn-export': ['ncnn>=1.0.20261020', 'pnnx>=20261020'],
        # Converting to Core ML, which works on Linux and macOS; PyPI has no
        # build of coremltools for Python 3.14.
        'coreml': ['coremltools>=9'],
        # LoRA and DoRA adapters (model.adapters) while they are trained; it
        # brings transformers, which nothing else here needs.
        'lora': ['peft>=0.15'],
        # The budgeted search of tools/nas/search.py.
        'nas': ['optuna>=4'],
        # Augmenting batches on their device (BatchKorniaAugment). kornia
        # computes on tensors, which Albumentations cannot.
        'augment': ['kornia>=0.8,<1'],
        # Matching on a GPU; pure Python over Triton, Apache-2.0, and what
        # rfdetr's trainings use. Without it SciPy matches on the CPU.
        'gpu-matching': ['torch-hungarian==0.1.0rc0'],
        # VernierCocoMetric
        'fast-eval': ['vernier>=0.5.3'],
        # mmdet's ByteTrack and OC-SORT (configs/mixing)
        'tracking': ['lap'],
        # Exporting to TFLite; torchao 0.18 breaks on torch 2.9.
        'tflite-export': ['litert-torch==0.10.0', 'torchao==0.17.0'],
        # --engine ray; ray[data] brings pyarrow and fsspec, whose packages for
        # buckets (s3fs, gcsfs, adlfs) are the user's choice. Its interfaces
        # change with minor versions.
        'scale': ['ray[data]>=2.60,<2.61'],
        # What configs/_base_/visualizers log to. MLflow's small client writes
        # to a server; files and SQLite want variables or the whole mlflow.
        'loggers': ['tensorboard', 'wandb', 'mlflow-skinny'],
        'test': TEST,
        'dev': [*TEST, 'ruff>=0.14', 'interrogate>=1.7'],
    },
    keywords=['object detection', 'RF-DETR', 'DINOv2', 'MMDetection'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3 :: Only',
        'Typing :: Typed',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)

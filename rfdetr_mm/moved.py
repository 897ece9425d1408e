"""Old import paths: they give the module of today, with a warning."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# old name within this package: today's full name
MOVED = {
    f'models.layers.{module}': f'rfdetr_mm.models.{room}.{module}'
    for room, modules in {
        'autograd': (
            'recompute',
            'relu_mlp',
            'scaled_gelu_linear',
            'weighted_samples',
        ),
        'dense_heads': (
            'detections',
            'head_outputs',
            'head_stage',
            'match_errors',
        ),
        'loading': ('adapters', 'query_rows', 'state_dict_check'),
        'task_modules': ('batch_objects',),
    }.items()
    for module in modules
} | {
    'apis.batch_size': 'rfdetr_mm.engine.batch_size',
    'apis.command_line.detection_files': 'rfdetr_runtime.detection_files',
    'apis.sizes': 'rfdetr_mm.apis',
    'apis.training_cfg': 'rfdetr_mm.apis.training',
    'apis.variants': 'rfdetr_mm.sizes.shipped',
    'checkpoints.files': 'rfdetr_mm_light.files',
    'datasets.image_file': 'rfdetr_runtime.image_file',
}


class MovedModules:
    """Finds modules by the names that they had before.

    An instance in ``sys.meta_path`` is both finder and loader. It is asked
    after Python's own finders, so that it costs nothing elsewhere.
    """

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Say whether a name is an old one.

        Args:
            name: The full name of a module.
            path: Not used; part of Python's interface.
            target: Not used; part of Python's interface.

        Returns:
            What Python loads the module by, or None for any other name.
        """
        package, _, rest = name.partition('.')
        if package != __package__ or rest not in MOVED:
            return None
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of today in the place of the empty one."""
        old = module.__name__
        new = MOVED[old.partition('.')[2]]
        warnings.warn(
            f'{old} is called {new} now; the old name will be removed',
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(new)


def find_moved_modules() -> None:
    """Let old names be imported from now on."""
    if not any(isinstance(one, MovedModules) for one in sys.meta_path):
        sys.meta_path.append(MovedModules())

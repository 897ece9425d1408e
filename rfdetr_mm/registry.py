"""This package's name as mmengine sees it: where configs are, and a scope.

``rfdetr_mm::rfdetr/rfdetr_nano_coco.py`` names a config of an installed
package. mmengine finds the packages in ``MODULE2PACKAGE``, and what such a
config says is looked up in the registries of the scope ``rfdetr_mm``, which
it imports from this module, whose name it prescribes. Our classes are
registered in mmdet's registries, so those of this scope are empty and pass
every question on.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from mmdet import registry as mmdet_registry
from mmengine import registry as mmengine_registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

from rfdetr_mm_light.shipped_files import SHIPPED

SCOPE = 'rfdetr_mm'

# Imported at the first look-up: mmdet's registries do not do it when they are
# asked as parents.
LOCATIONS = [
    'mmdet.datasets',
    'mmdet.engine',
    'mmdet.evaluation',
    'mmdet.models',
    'mmdet.visualization',
    'rfdetr_mm',
]


def _add_scope() -> None:
    """Put a registry of our scope below each of mmdet's.

    mmdet lacks a few of mmengine's registries (functions, strategies,
    inferencers); there it is put below mmengine's.
    """
    for name, root in list(vars(mmengine_registry).items()):
        if isinstance(root, Registry):
            Registry(
                root.name,
                parent=getattr(mmdet_registry, name, root),
                scope=SCOPE,
                locations=LOCATIONS,
            )


def link_shipped_files(package: Path) -> None:
    """Let mmengine find the configs of a clone that was not installed.

    It looks for them in the folder ``.mim`` of the package, which
    installations have. A clone gets the links that ``python setup.py
    link_mim`` would make; a clone that cannot be written to stays as it is,
    and its configs are found by their paths alone.

    Args:
        package: The package's folder.
    """
    folder, clone = package / '.mim', package.parent
    if os.path.lexists(folder) or not all(
        (clone / name).exists() for name in ('setup.py', *SHIPPED)
    ):
        return
    # Links are no more than a convenience, and several processes may come
    # here at once: the first one wins.
    with contextlib.suppress(OSError):
        new = Path(tempfile.mkdtemp(prefix='.mim.', dir=package))
        try:
            for name in SHIPPED:
                (new / name).symlink_to(f'../../{name}')
            new.chmod(0o755)
            new.rename(folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)


MODULE2PACKAGE[SCOPE] = SCOPE
link_shipped_files(Path(__file__).resolve().parent)
_add_scope()

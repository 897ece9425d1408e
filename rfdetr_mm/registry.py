"""This package's name as mmengine sees it: where configs are, and a scope.

``rfdetr_mm::rfdetr/rfdetr_nano_coco.py`` names a config of an installed
package. mmengine finds the packages in ``MODULE2PACKAGE``, and what such a
config says is looked up in the registries of the scope ``rfdetr_mm``, which
it imports from this module, whose name it prescribes. Our classes are
registered in mmdet's registries, so those of this scope are empty and pass
every question on.
"""

from mmdet import registry as mmdet_registry
from mmengine import registry as mmengine_registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

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


MODULE2PACKAGE[SCOPE] = SCOPE
_add_scope()

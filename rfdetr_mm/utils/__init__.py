"""What ``mmengine.hub.get_model`` asks a package's ``utils`` for."""

from mmdet.utils import register_all_modules as _register_modules_of_mmdet

__all__ = ['register_all_modules']


def register_all_modules(init_default_scope: bool = False) -> None:
    """Register mmdet's modules; ours are since ``import rfdetr_mm``.

    Args:
        init_default_scope: Whether to make ``mmdet`` the default scope.
    """
    _register_modules_of_mmdet(init_default_scope)

"""What differs between the two stacks: OneDL's packages and OpenMMLab's.

Both are imported by the same names, and the rest of the package uses what
both have. Apart from the distributions' names below there is only this:

* OneDL's mmdet prints lines when it is imported; ``rfdetr_mm/__init__.py``
  sends them to standard error on either stack.
* mmcv 2.1.0 compiles with torch 2.1, which has no ``fully_shard``
  (ShardedRunner says so), no float16 on a CPU, and an ONNX export without
  ``dynamo``; litert-torch does not exist for it.
* mmdet 3.3.0's DINO works with 256 channels only.

What the tests skip for that is in ``tests/stacks.py``.
"""

# Import name to distributions: OneDL's, OpenMMLab's.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}

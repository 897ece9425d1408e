# A linear probe of the weights that the demo starts from: new class rows are
# trained on the shapes that `python demo/tiny_shapes.py data/tiny_shapes`
# draws, everything else stays as it is. `python demo/run.py --probe`.
_base_ = './rfdetr_tiny_shapes.py'

model = dict(backbone=dict(frozen_stages=12))  # all of it
frozen = dict(lr_mult=0.0, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'neck': frozen,
            'bbox_head': frozen,
            'bbox_head.cls_branch': dict(lr_mult=10.0),
            'bbox_head.query_selector.cls_branch': dict(lr_mult=10.0)
        }))
del frozen

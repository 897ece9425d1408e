# How the shipped weights rfdetr://rf-detr-tiny-shapes.pth were made, second
# part; `python demo/pretrain.py` gives it the weights of the first one. Boxes
# and colours are learned by then, outlines are not: classes get more weight.
_base_ = './rfdetr_tiny_pretraining-shapes.py'

model = dict(bbox_head=dict(loss_cls=dict(loss_weight=4.0)))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        convert_to_iter_based=True,
        warmup=0.03,
        min_factor=0.01)
]

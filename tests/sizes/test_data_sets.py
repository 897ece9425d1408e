"""Class names of configs and of meta data."""

from rfdetr_mm.sizes.data_sets import class_names_of_split, named_classes


def test_class_names():
    assert named_classes(None) == named_classes(dict(classes=None)) == ()
    assert named_classes(dict(CLASSES=['a', 'b'])) == ('a', 'b')
    assert named_classes(dict(classes='a')) == ('a',)
    part = dict(type='A', metainfo=dict(classes=('a',)))
    parts = dict(type='ConcatDataset', datasets=[dict(type='A'), part])
    cfg = dict(test_dataloader=dict(dataset=dict(type='R', dataset=parts)))
    assert class_names_of_split(cfg, 'test') == ('a',)
    assert class_names_of_split(cfg, 'val') == ()

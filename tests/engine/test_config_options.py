"""Every option either changes what somebody reads, or is an error."""

import argparse
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from rfdetr_mm.engine.config_options import (
    OptionAction,
    check_options,
    merge_options,
    read_options,
)
from rfdetr_mm.errors import InputError

ROOT = Path(__file__).parents[2]
CUSTOM = 'rfdetr/rfdetr_nano_custom.py'
OTHERS = (
    'rfdetr/rfdetr_nano_coco.py',
    'rfdetr_seg/rfdetr-seg_nano_custom.py',
    'rfdetr_nas/rfdetr-nas_base_custom.py',
)


@pytest.fixture(scope='module')
def custom():
    return Config.fromfile(ROOT / 'configs' / CUSTOM)


# Option: what the message has to propose.
MISSPELLED = {
    'load_form=None': 'did you mean load_from',
    'modle.bbox_head.num_queries=5': 'did you mean model.bbox_head.num_que',
    'model.bbox_haed.num_queries=5': 'did you mean model.bbox_head.num_que',
    'model.bbox_head.num_querys=5': r'\(RFDETRHead\) has no num_querys; did '
    'you mean model.bbox_head.num_queries',
    'train_cfg.max_epoch=1': 'did you mean train_cfg.max_epochs',
    'train_cfg.val_intervall=1': 'did you mean train_cfg.val_interval',
    'train_dataloader.batchsize=1': 'did you mean train_dataloader.batch_siz',
    'train_dataloader.shufle=1': 'did you mean train_dataloader.shuffle',
    'train_dataloader.dataset.datarot=a': 'did you mean train_dataloader.dat',
    'train_dataloader.dataset.indice=9': 'did you mean .*indices',
    'optim_wrapper.optimizer.lrr=1': 'did you mean optim_wrapper.optimizer.lr',
    'optim_wrapper.optimizr.lr=1': 'did you mean optim_wrapper.optimizer.lr',
    'optim_wrapper.clip_grad.maxnorm=1': 'did you mean .*clip_grad.max_norm',
    'optim_wrapper.dtype=bfloat16': 'OptimWrapper',
    'optim_wrapper.paramwise_cfg.layer_decay_rat=1': 'mean .*layer_decay_rate',
    'custom_hooks.0.deacy=0.9': 'did you mean custom_hooks.0.decay',
    'param_scheduler.0.dropp=3': 'did you mean param_scheduler.0.drop',
    'default_hooks.chekpoint.interval=1': 'did you mean .*checkpoint.interval',
    'default_hooks.checkpoint.intervall=1': 'did you mean .*interval',
    'default_hooks.early_stop.patience=1': 'default_hooks has no early_stop',
    'randomness.sed=1': 'did you mean randomness.seed',
    'env_cfg.cudnn_benchmarc=True': 'did you mean env_cfg.cudnn_benchmark',
    'env_cfg.mp_cfg.mp_start=fork': 'did you mean .*mp_start_method',
    'auto_scale_lr.base_batch=16': 'did you mean .*base_batch_size',
    'val_evaluator.claswise=True': 'did you mean val_evaluator.classwise',
    'model.test_cfg.max_per_image=5': 'did you mean .*max_per_img',
    'bbox_head.num_queries=5': 'did you mean model.bbox_head.num_queries',
    'max_epochs=5': 'did you mean train_cfg.max_epochs',
    'lr=1e-4': 'did you mean optim_wrapper.optimizer.lr',
    'visualizer.nam=x': 'did you mean visualizer.name',
    'model.type=RFDTR': r'no registry has RFDTR; did you mean RFDETR\?',
}
NOT_A_PLACE = {
    'param_scheduler.1.drop=3': r'1 entries are numbered from 0, and .1. is',
    'param_scheduler.drop=3': "'drop' is none of them",
    'train_cfg.max_epochs.x=3': 'train_cfg.max_epochs is 100 and has no',
    'model.backbone.out_indices.0=3': 'write all entries of this list',
    'image_size=512': 'image_size changes nothing',
}


@pytest.mark.parametrize('option', [*MISSPELLED, *NOT_A_PLACE])
def test_a_key_that_nobody_reads(custom, option):
    before = custom.to_dict()
    message = {**MISSPELLED, **NOT_A_PLACE}[option]
    with pytest.raises(InputError, match=message) as caught:
        merge_options(custom, read_options([option]))
    assert option.partition('=')[0] in str(caught.value)
    assert custom.to_dict() == before


@pytest.mark.parametrize(
    'option', [o for o in MISSPELLED if not o.startswith('model.type')]
)
def test_a_plus_adds_it_all_the_same(custom, option):
    check_options(custom, read_options([f'+{option}']))


def test_a_plus_does_not_reach_a_config():
    cfg = Config(dict(train_cfg=dict(max_epochs=2)))
    merge_options(cfg, {'+train_cfg.own': 3, '+own.deep.key': 4})
    assert cfg.train_cfg == dict(max_epochs=2, own=3)
    assert cfg.own.deep.key == 4


def test_all_wrong_keys_are_named_at_once(custom):
    with pytest.raises(InputError, match='load_form.*modle'):
        check_options(custom, {'load_form': None, 'modle.test_cfg.x': 1})


LEGAL = [
    # arguments that are not in the config: of the class, of those behind it
    'model.backbone.with_cp=True',
    'model.init_cfg.type=Pretrained model.init_cfg.checkpoint=a.pth',
    'model.backbone.init_cfg.type=Pretrained '
    'model.backbone.init_cfg.checkpoint=a.pth '
    'model.backbone.init_cfg.prefix=backbone.',
    'model.adapters.type=dora model.adapters.rank=8',
    'model.data_preprocessor.non_blocking=True',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.dataset.lazy_init=True',
    'train_dataloader.dataset.filter_cfg.min_size=4',
    'train_dataloader.dataset.metainfo.classes="(a,b)"',
    'train_dataloader.prefetch_factor=4',
    'train_dataloader.num_batch_per_epoch=4',
    'train_dataloader.collate_fn.type=pseudo_collate',
    'train_dataloader.dataset.pipeline.0.imdecode_backend=cv2',
    'test_dataloader.dataset.pipeline.1.kernel=predict',
    # another class has other arguments
    'optim_wrapper.type=AutocastOptimWrapper optim_wrapper.dtype=bfloat16',
    'optim_wrapper.optimizer.type=SGD optim_wrapper.optimizer.momentum=0.9',
    'train_cfg.type=IterBasedTrainLoop train_cfg.max_iters=9',
    'default_hooks.early_stopping.type=EarlyStoppingHook '
    'default_hooks.early_stopping.patience=3 '
    'default_hooks.early_stopping.monitor=coco/bbox_mAP',
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.logger.priority=LOW',
    'default_hooks.visualization=None',
    'custom_hooks.0.priority=49',
    # entries of the Runner and of the tools
    'load_from=None resume=True launcher=none log_level=WARNING',
    'compile=True',
    'compile.mode=reduce-overhead',
    'auto_scale_lr.enable=True',
    'find_unused_parameters=True sync_bn=torch',
    'model_wrapper_cfg.type=MMDistributedDataParallel',
    'runner_type=FlexibleRunner strategy.type=DeepSpeedStrategy',
    'randomness.deterministic=True experiment_name=a work_dir=b',
    'env_cfg.dist_cfg.backend=gloo env_cfg.mp_cfg.opencv_num_threads=1',
    'optim_wrapper.clip_grad=None',
    'optim_wrapper.clip_grad.norm_type=1',
    'log_processor.window_size=5',
    'model.backbone._delete_=True model.backbone.type=ResNet '
    'model.backbone.depth=50',
    'data_root=/x dataset_layout=yolo crowd_as_object=True',
]


@pytest.mark.parametrize('options', LEGAL)
def test_no_false_alarm(custom, options):
    check_options(custom, read_options(options.split()))


def test_a_type_that_another_option_sets(custom):
    types = {'optim_wrapper': 'AmpOptimWrapper'}
    options = {'optim_wrapper.dtype': 'bfloat16'}
    check_options(custom, options, types)


def test_a_group_that_is_none_gets_entries():
    cfg = Config(dict(optim_wrapper=dict(clip_grad=None)))
    merge_options(cfg, {'optim_wrapper.clip_grad.max_norm': 2})
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=2)


def test_entries_that_nobody_typed_are_open_but_for_slips():
    cfg = Config(dict(custom_group=dict(img_norm_cfg=dict(mean=1))))
    check_options(cfg, {'custom_group.img_norm_cfg.std': 3})
    with pytest.raises(InputError, match='did you mean .*img_norm_cfg.mean'):
        check_options(cfg, {'custom_group.img_norm_cfg.meen': 3})


@pytest.mark.parametrize(
    'options', [{'a': 1, 'a.b': 2}, {'a.b': 1, 'a.b.c': 2}]
)
def test_options_that_exclude_each_other(options):
    cfg = Config(dict(a=dict(b=dict(c=0))))
    with pytest.raises(InputError, match='do not go together|has no entries'):
        merge_options(cfg, options)


@pytest.mark.parametrize('text', ['resume', '=5', 'a..b=1', '.a=1', 'a=[1,2'])
def test_texts_that_are_no_options(text, capsys):
    with pytest.raises(InputError, match=re.escape(text)):
        read_options([text])
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(['--cfg-options', text])
    assert stopped.value.code == 2
    assert f'--cfg-options {text}: ' in capsys.readouterr().err


def options_in(text: str) -> set[str]:
    """KEY=VALUE, as pages and scripts of this repository write them."""
    found = re.findall(r'(?<![\w./{])((?:[a-z]\w*)(?:\.\w+)+)=(\S*)', text)
    return {f'{key}={value}' for key, value in found}


def written_options() -> list[str]:
    first = '|'.join(Config.fromfile(ROOT / 'configs' / CUSTOM).keys())
    pages = [
        *ROOT.glob('*.md'),
        ROOT / 'Makefile',
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('configs/**/*.md'),
        *ROOT.glob('demo/*.py'),
        *ROOT.glob('tools/**/*.py'),
        *ROOT.glob('tools/**/*.sh'),
    ]
    found = set().union(*(options_in(p.read_text()) for p in pages))
    return sorted(o for o in found if re.match(rf'({first})\.', o))


def test_options_that_the_pages_write():
    """Each is right for one of the shipped configs at least."""
    written = written_options()
    assert len(written) > 40
    paths = (CUSTOM, *OTHERS)
    configs = [Config.fromfile(ROOT / 'configs' / p) for p in paths]
    # The lines give these a class beside them.
    types = {
        'default_hooks.compile': 'CompileHook',
        'default_hooks.early_stopping': 'EarlyStoppingHook',
        'train_dataloader.sampler': 'SmallDataSampler',
        'val_cfg': 'TwoWeightsValLoop',
    }
    types_of_dtype = {**types, 'optim_wrapper': 'AmpOptimWrapper'}
    wrong = []
    for option in written:
        key, value = option.split('=', 1)
        options = {key: None if key.endswith('.type') else value}
        problems = []
        for cfg in configs:
            try:
                dtype = key == 'optim_wrapper.dtype'
                check_options(cfg, options, types_of_dtype if dtype else types)
            except InputError as error:
                problems.append(str(error))
        if len(problems) == len(configs):
            wrong.append(problems[0])
    # The example of a misspelled key.
    assert all('has no max_epoch;' in problem for problem in wrong), wrong

import pytest

from rfdetr_mm.apis import RFDETRNano
from rfdetr_mm.apis.train_config import TrainConfig, make_train_config
from rfdetr_mm.errors import InputError


def make(**given):
    return make_train_config(given, 'RFDETRNano.train()')


def test_other_spellings():
    assert make(multi_scale=True).multi_scale == 'per-batch'
    assert make(multi_scale=False).multi_scale == 'off'
    kwargs = dict(min_factor=0.1, lr_drop=7)
    config = make(lr_scheduler='cosine', lr_scheduler_kwargs=kwargs)
    assert (config.lr_min_factor, config.lr_drop) == (0.1, 7)
    assert make(dataset_dir='~/x').dataset_dir.endswith('/x')
    assert '~' not in make(dataset_dir='~/x').dataset_dir
    assert make(resume=True).resume is True
    assert make(class_names=('a', 'b')).class_names == ['a', 'b']


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(epoch=3), r'RFDETRNano.train\(\) has .*Did you mean epochs\?'),
        (dict(learning_rate=1), 'no argument .learning_rate.'),
        (dict(output_directory='x'), 'Did you mean output_dir'),
        (dict(num_queries=100), r'one of the model: RFDETRNano\(num_queries='),
        (dict(devices=0), 'devices must be the number of GPUs'),
        (dict(aug_config={}), 'coming_from_rfdetr.md'),
        (dict(num_classes=3), 'the data set decides'),
        (dict(pin_memory=3), 'pin_memory must be True or False'),
        (dict(keypoint_l1_loss_coef=-1), 'from 0 on, got -1'),
        (dict(keypoint_flip_pairs=[1, 2, 3]), r'flat list .* got \[1, 2, 3\]'),
        (dict(keypoint_flip_pairs=[[1, 2]]), r'flat list of pairs'),
        (dict(keypoint_flip_pairs=[1.0, 2]), r'flat list of pairs'),
        (dict(keypoint_oks_sigmas=[0.1, 0]), r'positive numbers, got \[0.1'),
        (dict(keypoint_oks_sigmas=0.1), 'list of positive numbers, got 0.1'),
        (dict(batch_size='all'), "at least 1 or 'auto', got 'all'"),
        (dict(batch_size=0), 'batch_size must be an integer'),
        (dict(batch_size=2.0), 'got 2.0'),
        (dict(epochs=True), 'epochs must be an integer'),
        (dict(epochs=None), 'got None'),
        (dict(lr=0), 'lr must be greater than 0'),
        (dict(lr=-1.0), 'lr must be a number from 0 on'),
        (dict(lr='1e-4'), "got '1e-4'"),
        (dict(weight_decay=float('nan')), 'weight_decay must'),
        (dict(use_ema='yes'), "True or False, got 'yes'"),
        (dict(multi_scale='always'), 'per-batch, per-sample, off'),
        (dict(amp_dtype='fp8'), 'auto, bf16, fp16, None'),
        (dict(lr_scheduler='linear'), 'step, cosine'),
        (dict(dataset_file='voc'), 'auto, roboflow'),
        (dict(class_names='ab'), 'list of names'),
        (dict(class_names=[1, 2]), 'list of names'),
        (dict(class_names=[]), 'list of names'),
        (dict(class_names=3), 'list of names, got 3'),
        (dict(dataset_dir=3), 'dataset_dir must be text, got 3'),
        (dict(output_dir=None), 'output_dir must be text, got None'),
        (dict(output_dir=''), 'output_dir must be a path, got an empty te'),
        (dict(dataset_dir=''), 'dataset_dir must be a path, got an empty '),
        (dict(resume=''), 'resume must be a path, got an empty text'),
        (dict(resume=3), 'resume must be text, got 3'),
        (dict(project=True), 'project must be text, got True'),
        (dict(ema_decay=2.0), 'ema_decay must be a number from 0 to 1'),
        (dict(lr_min_factor=1.5), 'from 0 to 1, got 1.5'),
        (dict(drop_path=-0.1), 'from 0 to 1, got -0.1'),
        (dict(drop_path=1), 'drop_path must be less than 1'),
        (dict(lr=float('inf')), 'from 0 on, got inf'),
        (dict(lr_scheduler_kwargs=3), 'must be a dict, got 3'),
        (dict(seed=-1), 'seed must be an integer of at least 0'),
        (dict(lr_scheduler_kwargs=dict(gamma=1)), 'no argument .gamma.'),
    ],
)
def test_bad_values(given, message):
    with pytest.raises(InputError, match=message):
        make(**given)


@pytest.mark.parametrize(
    'name, value',
    [
        ('callbacks', {'on_fit_epoch_end': [print]}),
        ('start_epoch', 3),
        ('start_epoch', 0),
        ('do_benchmark', False),
        ('fp16_eval', True),
    ],
)
def test_deprecated_arguments_are_ignored(name, value):
    with pytest.warns(FutureWarning, match=f'{name} is deprecated'):
        assert make(**{name: value}) == TrainConfig()


def test_what_saved_configurations_hold_is_silent(recwarn):
    make(callbacks={}, eval_ema_only=False, fp16_eval=False)
    assert not recwarn.list


def test_the_class_has_it_too():
    assert RFDETRNano.get_train_config(epochs=3).epochs == 3
    with pytest.raises(InputError, match='Did you mean epochs'):
        RFDETRNano.get_train_config(epoch=3)

"""Files that real training loops write, read without trusting them."""

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rfdetr_mm.checkpoints import read_checkpoint
from rfdetr_mm.errors import InputError


class _Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor', **kwargs):
        out = self.linear(torch.ones(1, 2))
        return {'loss': out.sum(), 'class_error': out.max()}


class _Dataset(BaseDataset):
    METAINFO = {'classes': ('a', 'b'), 'palette': [(1, 2, 3), (4, 5, 6)]}

    def load_data_list(self):
        return [{'inputs': i} for i in range(4)]


@pytest.fixture
def mmengine_file(tmp_path):
    runner = Runner(
        _Model(),
        str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=_Dataset(metainfo=dict(nested=dict(key='value'))),
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
            dict(type='MultiStepLR', milestones=[1, 1], by_epoch=True),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1),
        ),
        custom_hooks=[EMAHook()],
        experiment_name=f'reader_{tmp_path.name}',
        log_level='ERROR',
    )
    runner.train()
    return tmp_path / 'epoch_2.pth'


def test_mmengine_files_come_back_whole(mmengine_file):
    read = read_checkpoint(mmengine_file)
    trusted = torch.load(mmengine_file, weights_only=False)
    assert read.keys() == trusted.keys()
    assert read['meta'] == trusted['meta']
    assert read['meta']['dataset_meta']['nested'] == {'key': 'value'}
    for name in ('state_dict', 'ema_state_dict'):
        assert read[name].keys() == trusted[name].keys()
        for key, tensor in trusted[name].items():
            assert torch.equal(read[name][key], tensor)
    assert read['param_schedulers'] == trusted['param_schedulers']
    groups = [c['optimizer']['param_groups'] for c in (read, trusted)]
    assert groups[0] == groups[1]
    scalars = read['message_hub']['log_scalars']
    expected = trusted['message_hub']['log_scalars']
    assert scalars.keys() == expected.keys() and 'train/loss' in scalars
    for name, buffer in scalars.items():
        assert isinstance(buffer, HistoryBuffer)
        assert buffer.mean() == expected[name].mean()


@pytest.fixture
def lightning():
    return pytest.importorskip('pytorch_lightning')


def test_lightning_files_come_back_whole(lightning, tmp_path):
    from pytorch_lightning.callbacks import (
        EarlyStopping,
        ModelCheckpoint,
        Timer,
    )

    class Module(lightning.LightningModule):
        def __init__(self, class_names, lr=0.1, nested=None):
            super().__init__()
            self.save_hyperparameters()
            self.model = nn.Linear(2, 1)

        def training_step(self, batch, index):
            loss = self.model(batch[0]).sum()
            self.log('loss', loss, on_epoch=True)
            return loss

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), self.hparams.lr)
            steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 1])
            return [optimizer], [steps]

    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        max_epochs=2,
        accelerator='cpu',
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(tmp_path, monitor='loss', save_last=True),
            EarlyStopping('loss', check_on_train_epoch_end=True),
            Timer('00:01:00:00'),
        ],
    )
    data = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
    module = Module(['a', 'b'], nested={'path': tmp_path})
    trainer.fit(module, data)

    path = tmp_path / 'last.ckpt'
    read = read_checkpoint(path)
    trusted = torch.load(path, weights_only=False)
    assert read.keys() == trusted.keys()
    hyper_parameters = read['hyper_parameters']
    assert hyper_parameters['class_names'] == ['a', 'b']
    assert str(hyper_parameters['nested']['path']) == str(tmp_path)
    assert torch.equal(
        read['state_dict']['model.weight'],
        trusted['state_dict']['model.weight'],
    )
    assert read['lr_schedulers'] == trusted['lr_schedulers']
    assert read['loops'] == trusted['loops']
    assert read['callbacks'].keys() == trusted['callbacks'].keys()


def test_a_class_of_somebodys_callback_is_named(lightning, tmp_path):
    """Unknown classes stop the reading; none is imported or skipped."""

    class Recorder(lightning.Callback):
        def state_dict(self):
            return {'metric': _Dataset}

    path = tmp_path / 'a.ckpt'
    torch.save(
        {'state_dict': {}, 'callbacks': {'r': Recorder().state_dict()}}, path
    )
    with pytest.raises(InputError, match=r'_Dataset.*save the weights alone'):
        read_checkpoint(path)

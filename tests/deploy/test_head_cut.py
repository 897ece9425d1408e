"""Exported heads run the layers and queries that PyTorch runs."""

import pytest
import torch
from mmdet.registry import MODELS

pytest.importorskip('mmdeploy', reason='the deploy extra is not installed')
onnxruntime = pytest.importorskip('onnxruntime')

from rfdetr_mm.deploy.export import deploy_config, export  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from tests.small_detector import small_config  # noqa: E402

SIZE = (64, 96)


def make(options, checkpoint):
    config = small_config(options)
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.03 * torch.randn_like(param))
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=tuple('abc'))),
        ),
        checkpoint,
    )
    return config, model


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize(
    'options',
    [
        {'bbox_head.decoder.num_layers': 0},
        {'test_cfg.num_layers': 0},
        {'test_cfg.num_layers': 1, 'test_cfg.num_queries': 4},
    ],
)
def test_cut_heads(options, masks, tmp_path):
    options = {'bbox_head.decoder.num_layers': 2, **options}
    if masks:
        options['bbox_head.type'] = 'RFDETRInsHead'
    config, model = make(options, tmp_path / 'model.pth')
    (file,) = export(
        config,
        tmp_path / 'model.pth',
        deploy_config(
            'instance-seg' if masks else 'detection',
            'onnxruntime',
            input_size=SIZE,
            layout='raw',
        ),
        tmp_path,
        progress=lambda line: None,
    )
    session = onnxruntime.InferenceSession(str(file))
    images = torch.randn(1, 3, *SIZE)
    outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        scores, boxes, *mask_preds = model(images)
    assert scores.shape[2] == options.get('test_cfg.num_queries', 6)
    close = dict(atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        torch.from_numpy(outputs[0]), boxes[-1], **close
    )
    # Class rows of upstream's layout: one to spare.
    torch.testing.assert_close(
        torch.from_numpy(outputs[1])[..., :3], scores[-1], **close
    )
    if masks:
        torch.testing.assert_close(
            torch.from_numpy(outputs[2]), mask_preds[0][-1], **close
        )


def test_part_that_was_not_extracted_is_refused(tmp_path):
    config, _ = make(
        {'subnet': '48x72-p12-w2-d3-q6', 'bbox_head.decoder.num_layers': 3},
        tmp_path / 'model.pth',
    )
    with pytest.raises(InputError, match='16 px and runs on patches of 12 px'):
        export(
            config,
            tmp_path / 'model.pth',
            deploy_config('detection', 'onnxruntime', input_size=SIZE),
            tmp_path,
            progress=lambda line: None,
        )

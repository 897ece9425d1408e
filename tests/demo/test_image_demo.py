import json

import pytest


def names_in(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob('*.*')}


@pytest.mark.parametrize('kind', ['box', 'mask'])
def test_a_folder(demo, tiny, tmp_path, capsys, kind):
    config, weights = getattr(tiny, kind)
    found = demo('image_demo').main(
        [
            *(str(tiny.images), config, '--weights', weights),
            *('--device', 'cpu', '--batch-size', '2'),
            *('--out-dir', str(tmp_path / 'out'), '--pred-score-thr', '0.1'),
        ]
    )
    assert len(found) == 2
    assert names_in(tmp_path / 'out') == {
        *('vis/1.png', 'vis/2.png', 'preds/1.json', 'preds/2.json')
    }
    written = json.loads((tmp_path / 'out/preds/1.json').read_text())
    assert written in found
    assert ('masks' in written) == (kind == 'mask')
    assert '2 images, pictures in' in capsys.readouterr().out


@pytest.mark.parametrize(
    'options, expected',
    [
        (['--no-save-vis'], {'preds/1.json'}),
        (['--no-save-pred'], {'vis/1.png'}),
        (['--no-save-vis', '--no-save-pred', '--print-result'], set()),
    ],
)
def test_outputs(demo, tiny, tmp_path, capsys, options, expected):
    """Of a checkpoint that has its config with it."""
    image = str(tiny.images / '1.png')
    out = tmp_path / 'out'
    demo('image_demo').main(
        [image, tiny.box[1], '--out-dir', str(out), *options]
    )
    assert names_in(out) == expected
    printed = capsys.readouterr().out
    assert ("'predictions'" in printed) == ('--print-result' in options)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['IMAGE', 'rfdetr_huge'], "'rfdetr_huge' is neither"),
        (['IMAGE', 'CONFIG', '--weights', 'gone.pth'], 'gone.pth'),
        (['gone.jpg', 'CHECKPOINT'], 'gone.jpg'),
        (['IMAGE', 'gone.pth'], 'gone.pth'),
    ],
)
def test_errors_are_one_line(demo, tiny, tmp_path, arguments, message):
    places = dict(
        IMAGE=str(tiny.images / '1.png'),
        CONFIG=tiny.box[0],
        CHECKPOINT=tiny.box[1],
    )
    arguments = [places.get(argument, argument) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        demo('image_demo').main([*arguments, '--out-dir', str(tmp_path)])
    assert str(stopped.value).startswith('image_demo.py: error: ')
    assert message in str(stopped.value)
    assert '\n' not in str(stopped.value)


@pytest.mark.parametrize('value', ['50', '-0.1', 'nan', 'high'])
def test_the_threshold_is_a_score(demo, capsys, value):
    options = [f'--pred-score-thr={value}']
    with pytest.raises(SystemExit) as stopped:
        demo('image_demo').parse_args(['IMAGE', 'MODEL', *options])
    assert stopped.value.code == 2
    assert '--pred-score-thr: ' in capsys.readouterr().err
    for end in ('0', '1'):
        args = demo('image_demo').parse_args(
            ['IMAGE', 'MODEL', '--pred-score-thr', end]
        )
        assert args.pred_score_thr == float(end)

"""Options of Ray: what goes together, said before anything is imported."""

import pytest

from rfdetr_mm_light.command_line.main import build_parser, main

RAY = ('--engine', 'ray')
PREDICT = ('predict', '*.jpg', '--model', 'nano')
WRONG = [
    ((*PREDICT, *RAY), '--engine ray needs --out'),
    ((*PREDICT, *RAY, '--out', 'a', '--json'), '--save and --json are for'),
    (
        (*PREDICT, *RAY, '--out', 'a', '--save', 'coco'),
        '--save and --json are for one process',
    ),
    ((*PREDICT, '--to-coco'), '--to-coco is for --engine ray'),
    ((*PREDICT, '--address', 'auto'), '--address is for --engine ray'),
    ((*PREDICT, '--num-models', '2'), '--num-models is for --engine ray'),
    (
        (*PREDICT, *RAY, '--out', 'a', '--num-models', '0'),
        '--num-models is 1 at least',
    ),
    (
        (*PREDICT, *RAY, '--out', 'a', '--device', 'cuda:1'),
        '--device is cpu or cuda',
    ),
    ((*PREDICT, '--engine', 'spark'), 'invalid choice'),
    (
        ('val', '.', '--model', 'nano', '--address', 'auto'),
        '--address is for --engine ray',
    ),
]


@pytest.mark.parametrize(
    ('words', 'message'),
    WRONG,
    ids=[' '.join(words[3:]) for words, _ in WRONG],
)
def test_wrong_options_of_ray(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_sources_of_ray_are_looked_for_later():
    """Patterns and addresses are no paths; the cluster may have them."""
    words = [*PREDICT, *RAY, '--out', 'a', '--to-coco']
    args = build_parser().parse_args(words)
    args.module.check(args)
    assert args.inputs == ['*.jpg'] and str(args.out_dir) == 'a'

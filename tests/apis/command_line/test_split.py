import json

from rfdetr_mm_light.command_line import main
from tests.data_factory import write_coco


def test_a_file_is_split(tmp_path, capsys):
    root = write_coco(tmp_path / 'set', [(30, 40)] * 10, empty=(2,))
    arguments = [
        'split',
        str(root / 'annotations.json'),
        *('--out', str(tmp_path / 'out'), '--parts', '0.7', '0.3'),
        *('--seed', '3', '--images', str(root / 'images'), '--copy'),
        *('--group-by', r'^\d'),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'train  valid' in printed and '9 groups of images' in printed
    content = json.loads(
        (tmp_path / 'out/valid/_annotations.coco.json').read_text()
    )
    assert 1 <= len(content['images']) <= 5
    assert main(arguments) == 1
    assert 'is not empty' in capsys.readouterr().err

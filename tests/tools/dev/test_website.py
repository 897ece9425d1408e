"""What `make docs` builds from: pages, links, tables, figures, commands."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from rfdetr_mm_light.command_line.main import build_parser

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / 'tools' / 'dev' / 'website'))
import check_links  # noqa: E402
import figures  # noqa: E402
import pages  # noqa: E402
import sizes  # noqa: E402

MARKDOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('', 'docs', 'configs', '.github')
    for path in (ROOT / folder).glob('**/*.md' if folder else '*.md')
)
# What is left out of commands: values and places that the reader fills in.
COMMENT = re.compile(r'\s#.*$', re.M)


@pytest.mark.parametrize('name', MARKDOWN)
def test_links_lead_to_files(name):
    assert pages.missing_targets(name, (ROOT / name).read_text()) == []


def test_every_page_is_in_the_navigation():
    named = set()
    for name in ('index', 'deploy/index', 'python_api'):
        text = (ROOT / 'docs' / f'{name}.md').read_text()
        for block in re.findall(r'```{toctree}(.*?)```', text, re.S):
            for line in block.split('\n'):
                if line and not line.startswith(':'):
                    here = Path(name).parent / line
                    parts = [p for p in here.parts if p != '..']
                    back = '..' in here.parts
                    named.add('/'.join(parts[1:] if back else parts))
    found = {page.removesuffix('.md') for page in pages.pages().values()}
    # Sphinx writes the reference.
    reference = {name for name in named if name.startswith('api/')}
    assert 'api/rfdetr_mm/index' in reference
    assert named - reference == found - {'index'}


@pytest.fixture
def rewrite(tmp_path):
    target_of = {
        'docs/own_data.md': 'own_data.md',
        'docs/deploy/index.md': 'deploy/index.md',
        'configs/rfdetr/README.md': 'models/rfdetr.md',
    }
    address = 'https://example.org/blob/main/'
    return pages.Rewriter(target_of, address, tmp_path)


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        (
            'docs/own_data.md',
            '[a](../configs/rfdetr/README.md#weights)',
            '[a](models/rfdetr.md#weights)',
        ),
        ('configs/rfdetr/README.md', '[a](../rfdetr)', '[a](rfdetr.md)'),
        (
            'docs/deploy/index.md',
            '[`a`\n](../own_data.md)',
            '[`a`\n](../own_data.md)',
        ),
        (
            'configs/rfdetr/README.md',
            '[a](../../docs/own_data.md)',
            '[a](../own_data.md)',
        ),
        ('docs/deploy/index.md', '[a](../../README.md)', '[a](../index.md)'),
        (
            'docs/own_data.md',
            '[`a`](../setup.py)',
            '[`a`](https://example.org/blob/main/setup.py)',
        ),
        ('docs/own_data.md', '[a](#b)', '[a](#b)'),
        ('docs/own_data.md', '[a](https://x.org)', '[a](https://x.org)'),
        ('docs/own_data.md', '`[a](../setup.py)`', '`[a](../setup.py)`'),
        (
            'docs/own_data.md',
            '```\n[a](../setup.py)\n```',
            '```\n[a](../setup.py)\n```',
        ),
    ],
)
def test_links_of_the_site(rewrite, name, text, expected):
    assert rewrite(name, text) == expected


def test_links_to_code_without_an_address(rewrite):
    rewrite.repository = ''
    text = 'see [`setup`](../setup.py) and [b](deploy/index.md)'
    expected = 'see `setup` and [b](deploy/index.md)'
    assert rewrite('docs/own_data.md', text) == expected


def test_images_come_along(rewrite, tmp_path):
    text = '![a](../docs/images/nas_front.png)'
    found = rewrite('configs/rfdetr/README.md', text.replace('..', '../..'))
    assert found == '![a](../images/nas_front.png)'
    assert (tmp_path / 'images' / 'nas_front.png').stat().st_size > 1000


def test_a_link_to_nothing():
    text = '[a](own_data.md) [b](nothing.md#x) `[c](d.md)` [e](https://f.g)'
    assert pages.missing_targets('docs/faq.md', text) == [
        'docs/faq.md: nothing.md#x is not there'
    ]


def test_a_notebook_is_a_page():
    cells = [
        dict(cell_type='markdown', source=['# A\n', 'b']),
        dict(cell_type='code', source=['x = 1\n', 'y']),
        dict(cell_type='code', source=['!z']),
    ]
    text = pages.notebook_as_markdown(json.dumps(dict(cells=cells)))
    python, shell = '```python\nx = 1\ny\n```', '```shell\nz\n```'
    assert text == f'# A\nb\n\n{python}\n\n{shell}\n'


def test_all_pages_are_assembled(tmp_path):
    assert pages.assemble(tmp_path) == []
    for page in pages.pages().values():
        assert (tmp_path / page).is_file()
    sizes.fill(tmp_path)
    figures.fill(tmp_path)
    text = (tmp_path / 'choose_a_size.md').read_text()
    assert '| `nano` | Boxes | 384 | 30.4 | 48.4 |' in text
    assert '<!--' not in text + (tmp_path / 'model_zoo.md').read_text()
    assert '<svg' in (tmp_path / sizes.CHART).read_text()
    text = (tmp_path / 'how_it_works.md').read_text()
    assert '<!--' not in text
    for image in re.findall(r'\((images/how_it_works/.*?)\)', text):
        assert '<svg' in (tmp_path / image).read_text()


def test_a_page_without_its_mark(tmp_path):
    for name in sizes.MARKS:
        (tmp_path / name).write_text('# A page\n')
    with pytest.raises(ValueError, match='choose_a_size.md must have one'):
        sizes.fill(tmp_path)
    (tmp_path / figures.PAGE).write_text('# A page\n')
    with pytest.raises(ValueError, match='must have one line <!-- figure'):
        figures.fill(tmp_path)


def test_sizes_have_what_the_files_say():
    found = {size.name: size for size in sizes.read()}
    assert len(found) == 16  # all but tiny
    assert found['seg-2xlarge'].average_precision == 49.9
    assert found['keypoint-preview'].average_precision == 71.8
    assert found['2xlarge'].licence == 'PML-1.0'
    assert found['base'].average_precision is None
    for name in ('nano', 'small', 'medium', 'large'):
        assert found[name].latency_ms and found[name].memory_mib
    assert found['seg-nano'].latency_ms is None
    for size in found.values():
        assert (ROOT / 'configs' / size.config).is_file()


def test_measured_times_must_be_there(monkeypatch):
    monkeypatch.setattr(sizes, 'MEASURED', re.compile('no such row'))
    with pytest.raises(ValueError, match='must have a table of measured'):
        sizes.read()


def test_the_readme_has_the_same_sizes():
    rows = re.findall(
        r'^\| `(\w+)` \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\S+) \|$',
        (ROOT / 'README.md').read_text(),
        re.M,
    )
    expected = [
        (
            size.name,
            str(size.image_px),
            f'{size.parameters_m:.2f}',
            str(size.average_precision),
            size.licence,
        )
        for size in sizes.read()
        if size.task == 'detection' and size.average_precision
    ]
    assert rows == expected


def test_figures_name_files_that_exist():
    for _, boxes in figures.FIGURES.values():
        for box in boxes:
            assert (ROOT / box.file).is_file(), box.file


def write_site(folder, **texts):
    for name, text in texts.items():
        (folder / f'{name}.html').write_text(text)
    (folder / 'a.svg').touch()


@pytest.mark.parametrize(
    ('link', 'wrong'),
    [
        ('<a href="two.html#there">', None),
        ('<a href="two.html#t%C3%B6">', None),
        ('<a href="#here">', None),
        ('<a href="https://example.org/x#y">', None),
        ('<a href="mailto:a@example.org">', None),
        ('<img src="a.svg">', None),
        ('<a href="three.html">', 'three.html is not there'),
        ('<a href="../outside.html">', '../outside.html is not there'),
        ('<img src="b.svg">', 'b.svg is not there'),
        ('<a href="two.html#not">', 'two.html#not has no such anchor'),
        ('<a href="#not">', '#not has no such anchor'),
    ],
)
def test_links_of_the_built_site(tmp_path, link, wrong):
    site = tmp_path / 'site'
    site.mkdir()
    (tmp_path / 'outside.html').touch()
    write_site(
        site, one=f'<p id="here">{link}', two='<a name="there"></a><b id="tö">'
    )
    expected = [] if wrong is None else [f'one.html: {wrong}']
    assert check_links.broken_links(site) == expected


def commands_of(name):
    """Complete commands of rfdetr-mm in the shell blocks of a page."""
    text = (ROOT / name).read_text()
    for block in re.findall(r'```shell\n(.*?)```', text, re.S):
        block = COMMENT.sub('', block).replace('\\\n', ' ')
        for line in block.split('\n'):
            line = line.split('|')[0].split('&&')[0].strip()
            if line.startswith('rfdetr-mm ') and '...' not in line:
                yield shlex.split(line)[1:]


@pytest.mark.parametrize(
    'name',
    [n for n in MARKDOWN if '```shell' in (ROOT / n).read_text()],
)
def test_commands_can_be_typed(name, capsys):
    """Subcommands and options are there; nothing is run."""
    parser = build_parser()
    for words in commands_of(name):
        try:
            parser.parse_args(words)
        except SystemExit as end:
            pytest.fail(f'{words}: {end} {capsys.readouterr().err}')


def test_commands_are_found():
    assert ['info'] in list(commands_of('docs/get_started.md'))
    assert len([*commands_of('docs/command_line.md')]) > 15

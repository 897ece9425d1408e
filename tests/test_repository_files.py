"""What the contributors' files name exists, and versions agree."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / '.github'
WORKFLOW = GITHUB / 'workflows' / 'ci.yml'
PRE_COMMIT = ROOT / '.pre-commit-config.yaml'
TEXTS = [
    ROOT / 'CONTRIBUTING.md',
    GITHUB / 'pull_request_template.md',
    WORKFLOW,
    ROOT / '.ci' / 'run',
    GITHUB / 'workflows' / 'docs.yml',
]
TARGETS = set(
    re.search(r'^\.PHONY:(.*)', (ROOT / 'Makefile').read_text(), re.M)[
        1
    ].split()
)


def name_of(path):
    return str(path.relative_to(ROOT))


def quoted_code(text):
    """Contents of `...` and of fenced blocks."""
    blocks = re.findall(r'```\w*\n(.*?)```', text, re.S)
    rest = re.sub(r'```.*?```', '', text, flags=re.S)
    return re.findall(r'`([^`\n]+)`', rest) + blocks


def named_paths(text):
    """Words of the code that are paths in the repository."""
    for word in re.split(r'[\s\'"(){},]+', '\n'.join(quoted_code(text))):
        if re.search(r'[$*<>~=:]', word) or word[:1] in '-/':
            continue
        if '/' in word.rstrip('/') or re.search(r'\.(md|py|sh|ya?ml)$', word):
            yield word


@pytest.mark.parametrize('path', TEXTS, ids=name_of)
def test_make_targets_exist(path):
    target = r'(?<![\w-])make (?:-s )?([a-z][a-z-]*)'
    named = re.findall(target, path.read_text())
    assert set(named) <= TARGETS
    assert named or path == WORKFLOW


@pytest.mark.parametrize('path', TEXTS[:2], ids=name_of)
def test_paths_exist(path):
    paths = list(named_paths(path.read_text()))
    assert paths
    assert [p for p in paths if not (ROOT / p).exists()] == []


def test_rooms_are_the_packages():
    """Each has a row in the table of CONTRIBUTING.md."""
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    rooms = {path.parent.name for path in ROOT.glob('rfdetr_mm/*/__init__.py')}
    assert 'apis' in rooms
    # utils is mmengine's word and holds one function.
    for room in rooms - {'utils'}:
        assert f'`rfdetr_mm/{room}`' in text


def test_linters_have_one_version():
    pinned = dict(
        re.findall(
            r'^(ruff|interrogate|codespell)==(\S+)$',
            (ROOT / 'requirements' / 'lint.txt').read_text(),
            re.M,
        )
    )
    hooks = yaml.safe_load(PRE_COMMIT.read_text())['repos'][0]['hooks']
    installed = {
        requirement
        for hook in hooks
        for requirement in hook['additional_dependencies']
    }
    assert installed == {f'{name}=={v}' for name, v in pinned.items()}


def test_pre_commit_runs_what_make_lint_runs():
    makefile = (ROOT / 'Makefile').read_text()
    (lint,) = re.findall(r'^lint:\n((?:\t.*\n)+)', makefile, re.M)
    (config,) = yaml.safe_load(PRE_COMMIT.read_text())['repos']
    assert config['repo'] == 'local'  # needs no repository of others
    for hook in config['hooks']:
        options = hook['entry'].split()
        assert options[0] in lint
        if options[0] == 'interrogate':
            assert ' '.join(options) in lint
        else:
            assert ' '.join(options[:2]) in lint


def test_the_workflow_runs_the_script_of_ci():
    jobs = yaml.safe_load(WORKFLOW.read_text())['jobs']
    steps = jobs['test']['steps']
    assert steps[-1]['run'] == '.ci/run'
    assert (ROOT / '.ci' / 'run').stat().st_mode & 0o111
    assert jobs['test']['needs'] == 'lint'
    (cache,) = (s['with'] for s in steps if 'cache' in s.get('uses', ''))
    script = (ROOT / 'tools' / 'dev' / 'environment.sh').read_text()
    assert '/rfdetr_mm}' in script and cache['path'].endswith('/rfdetr_mm')
    (pattern,) = re.findall(r"hashFiles\('(.*)'\)", cache['key'])
    assert list(ROOT.glob(pattern))
    for job in jobs.values():
        (python,) = (
            step['with']['python-version']
            for step in job['steps']
            if 'setup-python' in step.get('uses', '')
        )
        assert f'for version in {python} ' in script


@pytest.mark.parametrize(
    'path', sorted((GITHUB / 'ISSUE_TEMPLATE').glob('*.yml')), ids=name_of
)
def test_issue_forms(path):
    form = yaml.safe_load(path.read_text())
    if path.name == 'config.yml':
        assert set(form) == {'blank_issues_enabled', 'contact_links'}
        assert all(
            set(c) == {'name', 'url', 'about'} for c in form['contact_links']
        )
        return
    assert {'name', 'description', 'body'} <= set(form)
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert len({field['id'] for field in fields}) == len(fields)
    for field in fields:
        attributes = field['attributes']
        assert attributes['label']
        if field['type'] in ('dropdown', 'checkboxes'):
            options = attributes['options']
            wanted = str if field['type'] == 'dropdown' else dict
            assert options and all(isinstance(o, wanted) for o in options)


def test_the_release_publishes_what_it_has_checked():
    workflow = yaml.safe_load((GITHUB / 'workflows/release.yml').read_text())
    # YAML 1.1 reads the key "on" as true.
    assert workflow[True] == {'push': {'tags': ['v*']}}
    build, publish = workflow['jobs']['build'], workflow['jobs']['publish']
    ours = yaml.safe_load(WORKFLOW.read_text())['jobs']['package']['steps']
    checks = [step['run'] for step in ours if 'run' in step]
    assert len(checks) == 2
    commands = [step.get('run') for step in build['steps']]
    assert [c for c in commands if c in checks] == checks
    for command in checks:
        assert (ROOT / command.split()[0]).stat().st_mode & 0o111
    # Only what publishes may ask for a token, and only after the checks.
    assert workflow['permissions'] == {'contents': 'read'}
    assert 'permissions' not in build
    assert publish['needs'] == 'build'
    assert publish['permissions'] == {'id-token': 'write'}


def test_the_site_is_published_from_main_alone():
    workflow = yaml.safe_load((GITHUB / 'workflows/docs.yml').read_text())
    build, publish = workflow['jobs']['build'], workflow['jobs']['publish']
    assert {'run': 'make docs'} in build['steps']
    (upload,) = (s for s in build['steps'] if 'upload' in s.get('uses', ''))
    assert upload['with']['path'] == 'build/site/html'
    # Only what publishes may write pages, and only from main.
    assert workflow['permissions'] == {'contents': 'read'}
    assert 'permissions' not in build
    assert publish['needs'] == 'build'
    assert "github.ref == 'refs/heads/main'" in publish['if']
    assert publish['permissions'] == {'pages': 'write', 'id-token': 'write'}


@pytest.mark.parametrize('name', ['bug_report', 'question'])
def test_issue_forms_ask_for_the_environment(name):
    path = GITHUB / 'ISSUE_TEMPLATE' / f'{name}.yml'
    body = yaml.safe_load(path.read_text())['body']
    (field,) = (f for f in body if f.get('id') == 'environment')
    assert '`rfdetr-mm info' in field['attributes']['description']
    assert field['validations']['required']


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    text = (ROOT / 'rfdetr_mm_light' / 'version.py').read_text()
    assert f"'{citation['version']}'" in text
    notes = (ROOT / 'docs' / 'release_notes.md').read_text()
    assert f'## {citation["version"]}' in notes
    assert citation['license'] == 'Apache-2.0'

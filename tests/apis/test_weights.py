from pathlib import Path

import pytest

from rfdetr_mm.apis import from_checkpoint, weights
from rfdetr_mm.apis.weights import locate_weights
from rfdetr_mm.errors import InputError


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What would have been downloaded; the cache is an empty folder."""
    calls = []

    def resolve(name, *, accept_platform_model_license, folder):
        calls.append((name, accept_platform_model_license, folder))
        return tmp_path / 'found.pth'

    monkeypatch.setattr(weights, 'resolve_weights', resolve)
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    return calls


def test_published_names_are_fetched(asked, tmp_path):
    locate_weights('rf-detr-nano.pth', False)
    locate_weights('rfdetr://rf-detr-xlarge.pth', True)
    found = locate_weights(f'{tmp_path}/models/rf-detr-small.pth', False)
    assert found == str(tmp_path / 'found.pth')
    assert asked == [
        ('rf-detr-nano.pth', False, None),
        ('rfdetr://rf-detr-xlarge.pth', True, None),
        ('rf-detr-small.pth', False, tmp_path / 'models'),
    ]


def test_files_are_taken_as_they_are(asked, tmp_path):
    cache = tmp_path / 'cache'
    cache.mkdir()
    for path in (tmp_path / 'a.pth', tmp_path / 'b.pth', cache / 'b.pth'):
        path.touch()
    assert locate_weights(f'{tmp_path}/a.pth', False) == f'{tmp_path}/a.pth'
    assert locate_weights('a.pth', False) == 'a.pth'
    assert locate_weights('b.pth', False) == str(cache / 'b.pth')
    own = tmp_path / 'own' / 'rf-detr-nano.pth'
    own.parent.mkdir()
    own.touch()
    assert locate_weights(str(own), False) == str(own)
    assert not asked


@pytest.mark.parametrize(
    'url, name',
    [
        ('https://storage.googleapis.com/rfdetr/rf-detr-large-2026.pth', None),
        ('https://example.org/mine/rf-detr-nano.pth', 'rf-detr-nano.pth'),
        ('http://example.org/mine.pth', 'mine.pth'),
    ],
)
def test_web_addresses(asked, monkeypatch, tmp_path, url, name):
    """Only those of published files are the published files."""
    fetched = []
    monkeypatch.setattr(
        'rfdetr_mm.engine.checkpoint_loaders.download',
        lambda url, path, **_: fetched.append((url, path)),
    )
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))
    found = Path(locate_weights(url, False))
    if name is None:
        assert not fetched and found == tmp_path / 'found.pth'
        assert asked == [('rfdetr://rf-detr-large-2026.pth', False, None)]
    else:
        assert not asked and fetched == [(url, found)]
        assert found.name == name and tmp_path / 'hub' in found.parents


def test_missing_files(asked, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'cache.c.pth and no c.pth\.'):
        locate_weights('c.pth', False)
    with pytest.raises(FileNotFoundError, match='Published are: rf-detr-nano'):
        locate_weights(f'{tmp_path}/c.pth', False)


def test_the_licence_has_to_be_accepted(monkeypatch, tmp_path):
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    with pytest.raises(InputError, match='PML-1.0.*accept_platform_model_lic'):
        locate_weights('rf-detr-xlarge.pth', False)
    own = tmp_path / 'own' / 'rf-detr-xlarge.pth'
    own.parent.mkdir()
    own.write_bytes(b'no checkpoint')
    with pytest.raises(InputError, match='PML-1.0.*accept_platform_model_lic'):
        locate_weights(str(own), False)
    assert locate_weights(str(own), True) == str(own)
    with pytest.raises(InputError, match='PML-1.0'):
        from_checkpoint(own)
    with pytest.raises(InputError, match='xlarge.pth(?!.*PML)'):
        from_checkpoint(own, accept_platform_model_license=True)

"""Shards as they are written: the bytes, every kill, what is refused."""

import json
import os
import shutil
import signal
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from rfdetr_mm.datasets import read_coco_file
from rfdetr_mm.datasets.shards import pack_split
from rfdetr_mm.errors import InputError
from tests.data_factory import edit_json, write_coco

SIZES = [(60, 90), (90, 60), (50, 50), (40, 70), (64, 32)]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('set') / 'a', SIZES, (1,))


def pack(source, out, **options):
    file = read_coco_file(source / 'annotations.json')
    names = [image['file_name'] for image in file.images]
    paths = [str(source / 'images' / name) for name in names]
    options = dict(max_shard_bytes=20_000, split='train') | options
    return pack_split(file, paths, names, str(out), **options)


def content(folder):
    """Name to bytes of all files, hidden ones and folders too."""
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in sorted(Path(folder).rglob('*'))
    }


def test_members_are_the_files_and_their_annotations(source, tmp_path):
    packed = pack(source, tmp_path)
    truth = json.loads((source / 'annotations.json').read_text())
    index = json.loads(Path(packed.path).read_text())
    assert packed.num_shards == len(index['shards']) > 1
    assert sum(index['samples_per_shard']) == packed.num_samples == len(SIZES)
    assert index['categories'] == truth['categories']
    found = {}
    for name in index['shards']:
        with tarfile.open(tmp_path / name) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.uname) == (0, 0, '')
                found[member.name] = tar.extractfile(member).read()
    assert len(found) == 2 * len(SIZES)
    for number, image in enumerate(truth['images']):
        text = json.loads(found[f'{number:08d}.json'])
        assert text['annotations'] == [
            a for a in truth['annotations'] if a['image_id'] == image['id']
        ]
        assert text['file_name'] == image['file_name']
        file = source / 'images' / image['file_name']
        assert found[f'{number:08d}.png'] == file.read_bytes()


def test_the_same_files_give_the_same_bytes(source, tmp_path):
    # Also with the files at another place, and written over itself.
    pack(source, tmp_path / 'a')
    shutil.copytree(source, tmp_path / 'copy')
    pack(tmp_path / 'copy', tmp_path / 'b')
    pack(source, tmp_path / 'b')
    assert content(tmp_path / 'a') == content(tmp_path / 'b')


def in_a_child(run, kill_at=None):
    """Run in a forked process, killed before its n-th rename or removal.

    Returns:
        Whether it was killed.
    """
    pid = os.fork()
    if not pid:
        try:
            left = [-1 if kill_at is None else kill_at]

            def counted(call):
                def killing(*args, **kwargs):
                    if not left[0]:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left[0] -= 1
                    return call(*args, **kwargs)

                return killing

            for name in ('replace', 'unlink', 'rmdir'):
                setattr(os, name, counted(getattr(os, name)))
            run()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize('published', [False, True], ids=['new', 'again'])
def test_killed_anywhere_nothing_is_lost(source, tmp_path, published):
    other = write_coco(tmp_path / 'other', SIZES[:2], seed=7)
    twin = tmp_path / 'twin'
    pack(source, twin)
    for kill_at in range(200):
        out = tmp_path / f'out{kill_at}'
        if published:
            pack(other, out)
        before = set(content(out)) if published else set()
        if not in_a_child(lambda out=out: pack(source, out), kill_at):
            break
        index = out / 'train-index.json'
        if published or index.exists():
            # What the index names is there, the old shards or the new ones.
            names = set(json.loads(index.read_text())['shards'])
            assert names <= set(os.listdir(out))
            assert read_coco_file(index).images
            assert (
                names <= before
                or index.read_bytes()
                == (twin / 'train-index.json').read_bytes()
            )
        pack(source, out)
        assert content(out) == content(twin)
        shutil.rmtree(out)
    assert kill_at > 15  # shards, records, names, places, index, removals


def test_finished_shards_are_not_written_again(source, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done):
        if done == 4:
            raise Stopped

    with pytest.raises(Stopped):
        pack(source, tmp_path / 'a', progress=stop)
    steps = []
    packed = pack(source, tmp_path / 'a', progress=steps.append)
    assert packed.num_reused > 0 and steps[0] > 0
    assert steps == list(range(steps[0], len(SIZES) + 1))
    pack(source, tmp_path / 'b')
    assert content(tmp_path / 'a') == content(tmp_path / 'b')


def test_an_image_that_changed_in_between_is_read_again(source, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(source, copy)

    def stop(done):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(copy, tmp_path / 'a', progress=stop)
    Image.new('RGB', (90, 60), 'green').save(copy / 'images' / '1.png')
    assert pack(copy, tmp_path / 'a').num_reused == 0
    pack(copy, tmp_path / 'b')
    assert content(tmp_path / 'a') == content(tmp_path / 'b')


def test_splits_share_a_folder(source, tmp_path):
    other = write_coco(tmp_path / 'other', SIZES[:2], seed=7)
    pack(source, tmp_path / 'a')
    alone = content(tmp_path / 'a')
    pack(other, tmp_path / 'a', split='val')
    both = content(tmp_path / 'a')
    assert alone.items() < both.items()
    pack(source, tmp_path / 'a', max_shard_bytes=10**6)
    assert not any(
        n.startswith('val') for n in set(both) - set(content(tmp_path / 'a'))
    )


def test_sizes_that_the_file_does_not_tell_are_packed(source, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(source, copy)

    def forget(file):
        for image in file['images']:
            del image['height'], image['width']

    edit_json(copy / 'annotations.json', forget)
    file = read_coco_file(pack(copy, tmp_path / 'a').path)
    assert [(i['height'], i['width']) for i in file.images] == SIZES


def rename(name):
    def edit(file):
        file['images'][0]['file_name'] = name

    return edit


FAULTS = {
    'absolute': (rename('/abs/1.png'), {}, ['below the folder', '/abs/1.png']),
    'outside': (rename('../1.png'), {}, ['below the folder', "'../1.png'"]),
    'gif': (rename('1.gif'), {}, ['1.gif', 'must end with', '.png']),
    'no suffix': (rename('1'), {}, ['must end with']),
    'missing': (rename('gone.png'), {}, ['gone.png cannot be packed']),
    'split': (None, dict(split='a/b'), ["'a/b'", 'letters']),
    'no split': (None, dict(split=''), ["''", 'letters']),
    'no room': (None, dict(max_shard_bytes=0), ['at least 1 byte', 'is 0']),
}


@pytest.mark.parametrize('fault', list(FAULTS))
def test_what_cannot_be_packed(source, tmp_path, fault):
    edit, options, words = FAULTS[fault]
    copy = tmp_path / 'copy'
    shutil.copytree(source, copy)
    pack(source, tmp_path / 'a')
    before = content(tmp_path / 'a')
    if edit is not None:
        edit_json(copy / 'annotations.json', edit)
    with pytest.raises(InputError) as caught:
        pack(copy, tmp_path / 'a', **options)
    assert all(word in str(caught.value) for word in words), caught.value
    assert '\n' not in str(caught.value)
    # What was packed before is untouched.
    assert before.items() <= content(tmp_path / 'a').items()


@pytest.mark.parametrize('text', ['[]', '{"images": []}', 'words', ''])
def test_files_of_others_are_not_written_over(source, tmp_path, text):
    (tmp_path / 'train-index.json').write_text(text)
    with pytest.raises(InputError, match='Name another folder'):
        pack(source, tmp_path)
    assert content(tmp_path) == {'train-index.json': text.encode()}


def test_one_process_at_a_time(source, tmp_path):
    def second(done):
        with pytest.raises(InputError, match='Another process packs'):
            pack(source, tmp_path)

    pack(source, tmp_path, progress=second)
    assert (tmp_path / 'train-index.json').is_file()

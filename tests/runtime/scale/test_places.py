"""Images in a bucket, of a server on this machine."""

import contextlib
import os

import pytest
from scale_sources import content, write_parquet, write_tar

from rfdetr_runtime import InputError
from rfdetr_runtime.scale.places import Reader, is_local, one_line
from rfdetr_runtime.scale.sources import list_entries

FILES = content(10)
SECRETS = {
    'AWS_ACCESS_KEY_ID': 'no',
    'AWS_SECRET_ACCESS_KEY': 'secret',
    'AWS_DEFAULT_REGION': 'us-east-1',
}


@pytest.fixture(scope='module')
def bucket(tmp_path_factory):
    """Address of a bucket with the pictures in a folder, a tar, a Parquet."""
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    import boto3
    from moto.server import ThreadedMotoServer

    folder = tmp_path_factory.mktemp('bucket')
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        server = ThreadedMotoServer('127.0.0.1', 0)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv('AWS_ENDPOINT_URL', f'http://{host}:{port}')
        for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'):
            patch.delenv(name, raising=False)
        client = boto3.client('s3')
        client.create_bucket(Bucket='photos')

        def put(name, data):
            client.put_object(Bucket='photos', Key=name, Body=data)

        for name, data in FILES.items():
            put(f'all/{name}', data)
        put('all/notes.md', b'no picture')
        put('all/below/x.png', FILES['001.png'])
        tar = write_tar(folder / 'a.tar', FILES)
        put('packed/a.tar', tar.read_bytes())
        rows = write_parquet(folder / 'b.parquet', dict(x=[*FILES.values()]))
        put('packed/b.parquet', rows.read_bytes())
        names = '\n'.join(
            ['000.png', *(f's3://photos/all/{n}' for n in FILES)]
        )
        put('all/list.txt', names.encode())
        yield 's3://photos'


def read(entries):
    return [Reader().read(entry) for entry in entries]


@pytest.mark.parametrize(
    'source',
    ['all', 'all/', 'all/0*.png', 'packed/*.tar', 'packed/b.parquet'],
)
def test_sources_of_a_bucket(bucket, source):
    entries = list(list_entries([f'{bucket}/{source}']))
    assert all(entry.image.startswith('s3://photos/') for entry in entries)
    found = read(entries)
    assert len(found) == len(FILES)
    for (picture, error), data in zip(found, FILES.values(), strict=True):
        assert (error is None) == data.startswith(b'\x89PNG')
        assert (picture is None) == (error is not None)


def test_a_list_in_a_bucket(bucket):
    entries = list(list_entries([f'{bucket}/all/list.txt']))
    assert len(entries) == 11
    assert entries[0].image == entries[1].image == f'{bucket}/all/000.png'


def test_what_is_not_in_the_bucket(bucket, tmp_path):
    for source in ('gone', 'gone/*.png', '../other/x.png'):
        with pytest.raises(InputError, match='no image') as caught:
            list(list_entries([f'{bucket}/{source}']))
        assert '\n' not in str(caught.value)
    (tmp_path / 'list.txt').write_text(f'{bucket}/gone.png\n')
    ((picture, error),) = read(list_entries([str(tmp_path / 'list.txt')]))
    assert picture is None and 'gone.png' in error and '\n' not in error


def test_prediction_from_a_bucket(bucket, tmp_path):
    """A Ray of its own: its workers need the address of the bucket."""
    pytest.importorskip('onnxruntime')
    ray = pytest.importorskip('ray')
    import pyarrow.parquet as pq
    from toy_onnx import write_toy

    from rfdetr_runtime.scale import FileLoader, predict_on_ray

    if ray.is_initialized():
        ray.shutdown()
    model = str(write_toy(tmp_path / 'toy.onnx', batch='batch'))
    done = predict_on_ray(
        [f'{bucket}/all', f'{bucket}/packed/*'],
        tmp_path / 'out',
        FileLoader(model),
        threshold=0.3,
        batch_size=4,
        num_models=1,
    )
    assert not ray.is_initialized()
    assert (done.num_images, done.num_errors) == (30, 6)
    parts = sorted((tmp_path / 'out').glob('part-*.parquet'))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row['number'])
    found = [[d['score'] for d in r['detections'] or ()] for r in rows]
    assert found[:10] == found[10:20] == found[20:]


def test_addresses():
    assert is_local('/a/b.png') and is_local('a.png')
    assert not is_local('s3://a/b.png')


def test_reasons_do_not_name_objects_in_memory():
    error = ValueError(f'cannot  read\n{object()} twice')
    assert one_line(error) == 'cannot read <object object> twice'
    assert one_line(KeyError()) == 'KeyError'
    assert os.linesep not in one_line(OSError(2, 'gone', 'a'))

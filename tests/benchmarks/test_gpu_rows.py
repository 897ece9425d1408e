"""Rows of a GPU: what fails is listed; both sides' steps, on the CPU."""

import argparse
import io
import json
from types import SimpleNamespace

import pytest
import torch


def result(side, configuration, speeds, steps=None, work='step', row=None):
    memory = steps and dict(steps=steps, all=steps + 1.0, reserved=2 * steps)
    return dict(
        row=row or ('train_step' if work == 'step' else 'forward'),
        batch_size=2,
        side=side,
        configuration=configuration,
        work=work,
        images_per_s=speeds,
        warm_up_s=30.0,
        losses=[2.0, 1.0],
        memory=memory,
        flops=4e9 if (side, configuration) == ('rfdetr', 'eager') else None,
    )


def content(results):
    machine = dict(
        cpu='C',
        cores=2,
        threads=2,
        load_before=0.1,
        python='3',
        packages={},
        gpu='G',
        gpu_gib=80.0,
        cuda='13.0',
    )
    return dict(
        command='compare_upstream.py --device cuda',
        machine=machine,
        matmul_peak=1e12,
        parity=dict(share=0.99, median=1e-6, tolerance=2e-3),
        rows=results,
        skipped={'train_step, batch 2, rfdetr cuda_graphs': 'Error: no'},
    )


def test_report():
    from gpu_report import comparisons, markdown

    results = [
        result('rfdetr_mm', 'eager', [20.0, 22.0], 900.0),
        result('rfdetr_mm', 'compile', [30.0, 30.0], 1200.0),
        result('rfdetr', 'eager', [10.0, 20.0], 1000.0),
        result('rfdetr', 'compile', [40.0, 60.0], 1000.0),
        result('rfdetr_mm', 'eager', [9.0], work='fp32'),
        result('rfdetr', 'eager', [9.0], work='fp32'),
    ]
    json.dumps(content(results))
    found = {(one['what'], one['ours']): one for one in comparisons(results)}
    step = 'training step, bf16, batch 2'
    assert [*found] == [
        (step, 'eager'),
        (step, 'compile'),
        (f'{step}, best of each', 'compile'),
        ('forward, fp32, batch 2', 'eager'),
    ]
    assert found[step, 'eager']['ratio']['median'] == 1.55
    assert found[step, 'eager']['memory']['steps'] == 0.9
    assert '| **1.000** (1.000 to 1.000) | — | — |' in markdown(
        content(results)
    )
    text = markdown(content(results))
    # 2 GFLOP an image at 21 images/s: 4.2 % of 1 TFLOP/s.
    row = '| 21.0 (20.0 to 22.0) | 95.24 | 4.2 % | 900 | 901 | 1800 | 30 |'
    assert row in text
    assert f'ahead in: {step} (compile against compile); peak m' in text
    assert '(eager against eager)' not in text
    assert 'Left out: train_step, batch 2, rfdetr cuda_graphs: Error' in text


@pytest.fixture
def gpu_args(tmp_path):
    return argparse.Namespace(
        rows=['forward'],
        configurations=['eager'],
        variant='nano',
        device='cpu',
        batch_size=1,
        rounds=2,
        steps=1,
        at_once=None,
        limit=60,
        out=tmp_path,
    )


# In place of gpu_worker.py: rfdetr fails in different ways.
WORKER = """
import json, sys
name = json.loads(sys.argv[1])['configuration']
def say(**found):
    print(json.dumps(found), flush=True)
if name == 'torchscript':
    sys.exit('crashed\\nlast words')
say(works=['bf16'], built=1.0, seconds=dict(bf16=[1.0]), losses=[])
for number, line in enumerate(sys.stdin):
    if name == 'inductor' and number == 1:
        say(error='OutOfMemoryError: too much')
        sys.exit(1)
    if line.startswith('run bf16'):
        say(seconds=2.0)
    else:
        say(flops=None)
"""


def test_a_failing_configuration_is_listed(gpu_args, tmp_path, monkeypatch):
    import gpu_rows

    worker = tmp_path / 'worker.py'
    worker.write_text(WORKER)
    monkeypatch.setattr(gpu_rows, 'WORKER', worker)
    monkeypatch.setattr(gpu_rows, 'FORWARD_BATCHES', (32,))
    gpu_args.configurations = ['eager', 'torchscript', 'inductor']
    comparison = gpu_rows.GpuComparison(gpu_args, tmp_path)
    comparison.run()
    found = json.loads((tmp_path / 'compare.json').read_text())
    speeds = {
        (r['side'], r['configuration']): r['images_per_s']
        for r in found['rows']
    }
    for side in ('rfdetr_mm', 'rfdetr'):
        assert speeds[side, 'eager'] == [32.0, 32.0]  # two forwards in 2 s
        assert speeds[side, 'inductor'] == [32.0]
        name = f'forward, batch 32, {side} '
        assert found['skipped'][name + 'torchscript'].endswith('last words')
        assert found['skipped'][name + 'inductor'].startswith('OutOfMemory')
    assert (
        'Left out: forward, batch 32' in (tmp_path / 'compare.md').read_text()
    )


@pytest.mark.parametrize(
    'row, first',
    [
        ('train_step', ['rfdetr_mm eager', 'rfdetr eager']),
        ('forward', ['rfdetr_mm eager', 'rfdetr eager']),
    ],
)
def test_what_is_compared_runs_together(
    gpu_args, tmp_path, monkeypatch, row, first
):
    import compare_upstream
    import gpu_rows

    waves = []
    monkeypatch.setattr(
        gpu_rows.GpuComparison, '_wave', lambda self, *wave: waves.append(wave)
    )
    gpu_args.rows = [row]
    gpu_args.configurations = compare_upstream.NAMES
    comparison = gpu_rows.GpuComparison(gpu_args, tmp_path)
    comparison.run()
    counts = dict(train_step=[4, 4], forward=[14])
    assert [len(chosen) for _, chosen in waves] == counts[row]
    begins = [f'{row}, batch 1, {name}' for name in first]
    assert [job.name for job in waves[0][1][:2]] == begins
    gpu_args.configurations = ['cuda_graphs']
    assert len(comparison.jobs(row)) == (2 if row == 'train_step' else 0)


def test_a_process_that_is_silent(tmp_path, monkeypatch):
    import gpu_rows

    worker = tmp_path / 'worker.py'
    worker.write_text('import time; time.sleep(60)')
    monkeypatch.setattr(gpu_rows, 'WORKER', worker)
    from sides import Job

    job = Job('rfdetr', 'forward', 'eager', 1, 'nano', None, 'cpu')
    process = gpu_rows.Process(job, tmp_path)
    with pytest.raises(gpu_rows.WorkerError, match='no answer in 0 s'):
        process.answer(0.2)
    process.close()


@pytest.mark.parametrize(
    'options, message',
    [
        (['--rows', 'predict'], 'predict: on a CPU only'),
        ([], 'needs a GPU, and torch finds none'),
    ],
)
def test_bad_input(options, message, monkeypatch):
    import compare_upstream
    import upstream

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        upstream.importlib.util, 'find_spec', lambda name: True
    )
    with pytest.raises(SystemExit, match=message):
        compare_upstream.main(['--device', 'cuda', *options])


def test_batches_are_those_of_both_sides():
    from sides import BATCHES, OBJECTS, RANGE_OF_OBJECTS, batches_of

    batches = batches_of(3, 32, 'meta')
    assert len(batches) == BATCHES
    counts = [len(labels) for _, objects in batches for _, labels in objects]
    assert RANGE_OF_OBJECTS[0] <= min(counts) < max(counts)
    assert len(counts) == 3 * BATCHES and max(counts) <= RANGE_OF_OBJECTS[1]
    ((images, objects),) = batches_of(3, 32, 'cpu')
    assert [len(labels) for _, labels in objects] == [OBJECTS] * 3
    assert images.shape == batches[0][0].shape == (3, 3, 32, 32)
    torch.testing.assert_close(images, batches_of(3, 32, 'cpu')[0][0])


def test_queries_that_agree():
    from sides import agreement

    scores, boxes = torch.zeros(1, 4, 2), torch.zeros(1, 4, 4)
    theirs = torch.zeros(1, 4, 3)
    theirs[..., 2] = -20.0
    theirs[0, 3, 1] = 1.0
    found = agreement((scores, boxes), (theirs, boxes), 1e-3)
    assert found == dict(share=0.75, median=0.0, largest=1.0)


@pytest.fixture
def job(monkeypatch):
    """Of a process with batches of one image, and bfloat16 on a CPU."""
    import sides

    monkeypatch.setattr(sides, 'half', lambda device: torch.bfloat16)
    return sides.Job(
        'rfdetr_mm', 'train_step', 'eager', 1, 'nano', None, 'cpu'
    )


def test_a_process_of_ours(job, monkeypatch):
    import gpu_worker
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )
    job.configuration = 'compile'
    said = []
    lines = io.StringIO('run step 1\nmemory\nrun forward 1\n')
    with pytest.raises(KeyError, match='forward'):
        gpu_worker.serve(job, 1, lines, said.append, backend='eager')
    ready, run, memory = said
    assert ready['works'] == ['step'] and len(ready['losses']) == 1
    assert 0 < ready['losses'][0] < 100
    assert run['seconds'] > 0 and set(memory) == {'steps', 'all', 'reserved'}
    torch._dynamo.reset()


@pytest.mark.parity
@pytest.mark.parametrize(
    'configuration', ['compile', 'cuda_graphs', 'compile+cuda_graphs']
)
def test_options_of_upstream(job, configuration, monkeypatch, tmp_path):
    """Every option reaches its module, with CUDA's part taken by others."""
    pytest.importorskip('rfdetr')
    import rfdetr.config
    import sides
    from rfdetr.training.module_model import RFDETRModelModule
    from sides import Upstream

    calls = []

    def compiled(what, **options):
        calls.append(options)
        return what

    def graphed(what, inputs, **options):
        calls.append('graph')
        return what

    monkeypatch.setattr(rfdetr.config, 'DEVICE', 'cuda')
    monkeypatch.setattr(
        RFDETRModelModule, 'device', SimpleNamespace(type='cuda')
    )
    monkeypatch.setattr(torch, 'compile', compiled)
    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', graphed)
    Upstream('nano').save(tmp_path / 'w.pth')
    job.side, job.weights = 'rfdetr', tmp_path / 'w.pth'
    job.configuration = configuration
    step = sides.works_of(job)['step']
    assert 0 < float(step()) < 100
    if configuration == 'cuda_graphs':
        assert calls == ['graph']
    else:
        both = configuration != 'compile'
        assert calls[0]['dynamic'] == both
        assert calls[0]['options'].get('triton.cudagraphs', False) == both


@pytest.mark.parity
def test_an_option_without_effect(job, tmp_path):
    pytest.importorskip('rfdetr')
    import sides
    from sides import Upstream

    Upstream('nano').save(tmp_path / 'w.pth')
    job.side, job.weights = 'rfdetr', tmp_path / 'w.pth'
    job.configuration = 'cuda_graphs'
    with pytest.raises(RuntimeError, match='no effect.*: cuda_graphs'):
        sides.works_of(job)

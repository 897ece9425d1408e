"""Records, the plan, and the tables of docs/benchmark.md made of them."""

import json
from pathlib import Path

import pytest

CONTENT = dict(
    command='benchmarks/compare_upstream.py --rows train_step',
    machine=dict(cpu='C', cores=2, threads=1, packages={'torch': '2'}),
    matmul_peak=1e11,
    skipped={},
)


@pytest.fixture(scope='module')
def records():
    import records

    return records


@pytest.fixture(scope='module')
def render():
    import render_records

    return render_records


@pytest.fixture(scope='module')
def measure():
    import measure

    return measure


def spread(median):
    return dict(
        median=median,
        low=0.5 * median,
        high=2 * median,
        lower_quartile=0.75 * median,
        upper_quartile=1.5 * median,
    )


def step(ratio=0.5, unit='ms', ours=0.25, row='train_step'):
    return dict(
        row=row,
        what='training step, batch 2',
        unit=unit,
        sides=dict(rfdetr_mm=spread(ours), rfdetr=spread(ours / ratio)),
        ratio=spread(ratio),
        flops=dict(rfdetr_mm=1e10, rfdetr=2e10),
        rounds=dict(rfdetr_mm=[ours] * 3, rfdetr=[1.0] * 3),
    )


def keep(records, folder, rows, row='train_step', **changed):
    content = dict(CONTENT, rows=rows, **changed)
    kept = records.rows_record(content, 'nano', 2, row)
    return records.write_record(folder, f'nano_batch-2_{row}', kept)


@pytest.mark.parametrize(
    'cpu, flags, kind',
    [
        (
            'Intel(R) Xeon(R) Processor @ 2.60GHz',
            ['avx2', 'avx512f', 'avx512_vnni', 'amx_tile'],
            'Intel Xeon (AVX-512, VNNI, AMX)',
        ),
        ('AMD EPYC 9R14', ['avx512f', 'avx512_bf16'], None),
        ('AMD EPYC', ['avx2'], 'AMD EPYC'),
    ],
)
def test_kinds_of_processors(records, cpu, flags, kind):
    kind = kind or 'AMD EPYC 9R14 (AVX-512, BF16)'
    assert records.processor_kind(cpu, flags) == kind


def test_a_record_has_what_the_issue_asks(records, tmp_path):
    path = keep(
        records,
        tmp_path,
        [step(), step(row='forward')],
        command=f'{records.ROOT}/benchmarks/compare_upstream.py --rows x',
    )
    content = json.loads(path.read_text())
    assert content['command'] == 'benchmarks/compare_upstream.py --rows x'
    assert path.name == f'{content["date"]}_nano_batch-2_train_step.json'
    assert path.parent.name == records.slug(content['processor'])
    (row,) = content['rows']
    assert row['rounds'] == 3  # how many, not what each took
    assert row['ratio'] == spread(0.5)
    (read,) = records.read_records(tmp_path)
    assert read == dict(content, entry='nano_batch-2_train_step')


def test_a_file_that_is_no_record(records, tmp_path):
    (tmp_path / 'cpu').mkdir()
    (tmp_path / 'cpu' / '2026-01-01_x.json').write_text('{"date": "x"}')
    with pytest.raises(SystemExit, match='2026-01-01_x.json is not a record'):
        records.read_records(tmp_path)


def test_tables_by_processor(records, render, tmp_path, monkeypatch):
    kinds = iter(['Old (AVX-512)', 'New', 'Old (AVX-512)'])
    monkeypatch.setattr(records, 'processor_here', lambda: next(kinds))
    path = keep(records, tmp_path, [step(ratio=1.25)])
    older = json.loads(path.read_text())
    path.unlink()
    older.update(date='2001-02-03', matmul_peak=None)
    path.with_name('2001-02-03_nano_batch-2_train_step.json').write_text(
        json.dumps(older)
    )
    keep(records, tmp_path, [step()])
    text = render.tables(tmp_path)
    assert text.index('#### New') < text.index('#### Old (AVX-512)')
    new, old = text.split('#### Old (AVX-512)')
    # 10 GFLOP in 0.25 s: 40 of 100 GFLOP/s.
    assert (
        '| training step, batch 2 | 250 ms | 500 ms | 0.500 (0.250 to 1.000)'
        ' | 0.750 | 3 | 10, 20 | 40 %, 40 % |'
    ) in new
    assert '| **1.250** (0.625 to 2.500) |' in old and '2001-02-03' in old
    assert '| forward, eager | not run |  |  |  |  |  |  | 1.0 |  |' in new
    assert 'RFDETRMedium, batch 2: not run.' in new
    assert 'Earlier runs' not in text
    # A newer run of the old processor comes first and keeps the old number.
    keep(records, tmp_path, [step(ratio=0.75)])
    text = render.tables(tmp_path).split('#### Old (AVX-512)')[1]
    newest, earlier = text.split('Earlier runs:')
    assert '0.750 (0.375' in newest and '1.250' not in newest
    assert '| RFDETRNano: training step, batch 2 |' in earlier
    assert '**1.250**' in earlier


def test_what_cannot_run_says_why(records, render, tmp_path):
    why = 'this processor has no units for bfloat16'
    row = 'train_step_bf16'
    keep(records, tmp_path, [], row, skipped={row: why})
    assert f'not run: {why}' in render.tables(tmp_path)


def test_amounts(render):
    assert render.amounts([0.0123, 9.5], 'ms') == ['12.3 ms', '9500 ms']
    assert render.amounts([9.1, 28.04], 'ms') == ['9.1 s', '28 s']
    assert render.amounts([7034.2, 80], 'MiB') == ['7034 MiB', '80 MiB']


def test_growth_is_shown(records, render, tmp_path):
    sides = ('rfdetr_mm', 'rfdetr')
    points = [
        dict(
            setting=dict(image=384, batch=batch),
            axes=['batch'],
            memory=None,
            time=dict(
                sides=dict(zip(sides, (spread(batch**2), spread(batch)))),
                ratio=spread(batch),
            ),
        )
        for batch in (1, 2, 4)
    ]
    content = dict(CONTENT, axes={'batch': [1, 2, 4]}, points=points)
    path = records.write_record(tmp_path, 'growth', content)
    text = render.tables(tmp_path)
    assert '| images of a batch | 2.00 | 1.00 | — | — |' in text
    assert 'its exponent is 2.00, that of rfdetr 1.00.' in text
    assert f'(images/growth_{path.parent.name}.png)' in text


def test_markers(render):
    text = f'a\n{render.BEGIN}\nold\n{render.END}\nb\n'
    new = render.page_with(text, 'new')
    assert new == f'a\n{render.BEGIN}\n\nnew\n\n{render.END}\nb\n'
    assert render.page_with(new, 'new') == new
    with pytest.raises(SystemExit, match='must have the lines'):
        render.page_with('a', 'new')


def test_the_page_has_the_numbers_of_the_records(render):
    render.render_page(check=True)


def test_records_name_entries_of_the_plan(records):
    from plan import PLAN

    known = {entry.name for entry in PLAN} | {'growth'}
    assert {one['entry'] for one in records.read_records()} <= known


def test_the_plan_is_what_compare_upstream_takes(measure):
    import compare_upstream

    for entry in measure.PLAN:
        script, *options = measure.command_of(entry)
        assert (measure.ROOT / script).is_file()
        args = compare_upstream.parse_args(options)
        assert args.rows == [entry.row] and args.variant == entry.variant
        assert args.batch_size == entry.batch_size
        assert args.record == Path('docs/benchmarks')


def test_what_was_measured_today_is_left_out(
    measure, records, tmp_path, monkeypatch
):
    commit = {'now': 'abc'}
    for module in (measure, records):
        monkeypatch.setattr(module, 'commit_here', lambda: commit['now'])
    monkeypatch.setattr(measure, 'FOLDER', tmp_path)
    args = measure.parse_args(['--variants', 'nano'])
    before = measure.wanted(args)
    keep(records, tmp_path, [step()])
    left = measure.wanted(args)
    assert [one.name for one in before if one not in left] == [
        'nano_batch-2_train_step'
    ]
    again = measure.parse_args(['--variants', 'nano', '--again'])
    assert measure.wanted(again) == before
    commit['now'] = 'def'
    assert measure.wanted(args) == before


def test_a_failure_is_named_at_the_end(measure, tmp_path, monkeypatch):
    ran = []

    def run(command, cwd):
        ran.append(command)
        failed = 'memory' in command

        class Done:
            returncode = int(failed)

        return Done

    monkeypatch.setattr(measure.subprocess, 'run', run)
    monkeypatch.setattr(measure, 'commit_here', lambda: None)
    monkeypatch.setattr(measure, 'FOLDER', measure.ROOT / 'no_such_folder')
    monkeypatch.setattr(measure, 'render_page', lambda: ran.append('page'))
    with pytest.raises(SystemExit, match='failed: nano_batch-2_memory, nano'):
        measure.main(['--variants', 'nano', '--rows', 'memory', 'forward'])
    assert len(ran) == 4 and ran[-1] == 'page'

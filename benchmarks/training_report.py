"""What compare_training.py writes: JSON, a table in Markdown, a picture."""

import argparse
import sys
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402
from paired_rounds import machine  # noqa: E402
from report import page, table, write  # noqa: E402
from training_pair import (  # noqa: E402
    Comparison,
    Training,
    loss_errors,
    tensor_errors,
)

NUM_WORST = 5
# On the logarithmic axis these stand for no difference at all.
SMALLEST = {'float64': 1e-17, 'float32': 1e-9}


def write_report(
    comparison: Comparison, args: argparse.Namespace, failures: list[str]
) -> None:
    """Write report.json, report.md and report.png, and print the verdict.

    Args:
        comparison: The trainings.
        args: The command line.
        failures: What is too far apart.
    """
    content = summary(comparison, failures)
    write(args.out, 'report', content, markdown(content), plot(content))
    print('\n'.join(closing_lines(content)))
    print(f'Report in {args.out}')
    for failure in failures:
        print(f'FAILED: {failure}')
    if not failures:
        print('PASSED')


def summary(comparison: Comparison, failures: list[str]) -> dict[str, Any]:
    """Collect everything that is reported.

    Args:
        comparison: The trainings.
        failures: What is too far apart.

    Returns:
        Plain values.
    """
    ours, upstream = comparison.ours, comparison.upstream
    setup = {k: str(v) for k, v in vars(comparison.setup).items()}
    content = dict(
        setup=setup,
        failures=failures,
        limit=comparison.limit,
        command=' '.join(sys.argv),
        machine=machine(),
        rates=dict(rfdetr=upstream.rates, rfdetr_mm=ours.rates),
        losses=dict(rfdetr=upstream.losses, rfdetr_mm=ours.losses),
        loss_errors=loss_errors(ours, upstream),
        weights=_worst(ours, upstream),
        average_precision=comparison.precision,
    )
    if comparison.noisy is not None:
        noisy = comparison.noisy
        content['losses']['rfdetr with noise'] = noisy.losses
        content['drift'] = loss_errors(noisy, upstream)
        content['drift_of_weights'] = _worst(noisy, upstream)
    return content


def _worst(ours: Training, other: Training) -> dict[str, dict[str, float]]:
    """The largest relative differences of weights and averages."""
    found = {}
    for kind in ('start', 'weights', 'averages'):
        errors = tensor_errors(getattr(ours, kind), getattr(other, kind))
        names = sorted(errors, key=errors.get, reverse=True)[:NUM_WORST]
        found[kind] = {name: errors[name] for name in names}
    return found


def markdown(content: dict[str, Any]) -> str:
    """Put the numbers into tables.

    Args:
        content: See :func:`summary`.

    Returns:
        The text of the file.
    """
    losses, drift = content['losses'], content.get('drift')
    head = ['step', 'learning rate', 'rfdetr', 'rfdetr_mm', 'difference']
    head += ['rfdetr with noise'] if drift else []
    rows = []
    for i, error in enumerate(content['loss_errors']):
        row = [
            str(i + 1),
            f'{content["rates"]["rfdetr_mm"][i]:.3g}',
            f'{losses["rfdetr"][i]:.12g}',
            f'{losses["rfdetr_mm"][i]:.12g}',
            f'{error:.1e}',
        ]
        rows.append(row + ([f'{drift[i]:.1e}'] if drift else []))
    setup = ', '.join(f'{k} {v}' for k, v in content['setup'].items())
    lines = [f'* {line}' for line in closing_lines(content)]
    return page(content, setup, table(head, rows), '\n'.join(lines))


def closing_lines(content: dict[str, Any]) -> list[str]:
    """Say the result in a few lines.

    Args:
        content: See :func:`summary`.

    Returns:
        The lines.
    """
    lines = [_of_losses('loss', content['loss_errors'])]
    lines += _of_weights(content['weights'])
    if 'drift' in content:
        lines.append(_of_losses('loss of rfdetr with noise', content['drift']))
        lines += [
            f'rfdetr with noise: {line}'
            for line in _of_weights(content['drift_of_weights'])
        ]
    lines += [
        f'{name}: AP {value["ap"]:.2f}, AP50 {value["ap50"]:.2f}'
        for name, value in content['average_precision'].items()
    ]
    return lines


def _of_losses(what: str, errors: list[float]) -> str:
    return (
        f'{what}: largest relative difference {max(errors):.2g} '
        f'(step {errors.index(max(errors)) + 1} of {len(errors)}), at the '
        f'first step {errors[0]:.2g}'
    )


def _of_weights(worst: dict[str, dict[str, float]]) -> list[str]:
    words = dict(start='start weights', weights='weights', averages='averages')
    lines = []
    for kind, errors in worst.items():
        name = next(iter(errors))
        where = f' ({name})' if errors[name] else ''
        lines.append(
            f'{words[kind]}: largest relative difference of a tensor '
            f'{errors[name]:.2g}{where}'
        )
    return lines


def plot(content: dict[str, Any]) -> plt.Figure:
    """Draw the losses above and their relative differences below.

    Args:
        content: See :func:`summary`.

    Returns:
        The figure.
    """
    figure, (above, below) = plt.subplots(2, figsize=(8, 7), sharex=True)
    steps = range(1, len(content['loss_errors']) + 1)
    above.plot(steps, content['losses']['rfdetr'], lw=4, alpha=0.4)
    above.plot(steps, content['losses']['rfdetr_mm'], lw=1.2, color='black')
    above.legend(['rfdetr', 'rfdetr_mm'])
    dtype = 'float64' if content['setup']['double'] == 'True' else 'float32'
    above.set(ylabel='training loss', title=f'The same training, {dtype}')
    curves = {'rfdetr_mm against rfdetr': content['loss_errors']}
    if 'drift' in content:
        curves['rfdetr with noise against rfdetr'] = content['drift']
    for label, errors in curves.items():
        shown = [max(error, SMALLEST[dtype]) for error in errors]
        below.semilogy(steps, shown, marker='.', label=label)
    if dtype == 'float64':
        below.axhline(
            content['limit'], color='red', ls='--', lw=1, label='allowed'
        )
    below.set(xlabel='optimizer step', ylabel='relative difference of losses')
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend()
    for axis in (above, below):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    return figure

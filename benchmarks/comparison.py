"""What both comparisons of compare_upstream.py begin with."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from paired_rounds import machine, matmul_peak, say
from run_config import stop
from sides import Ours, Upstream, agreement

TOLERANCE = 2e-3  # of logits and boxes of a query, in float32
# Share of the queries, or nothing is timed. A GPU may swap two proposals.
AGREEING = dict(cpu=1.0, cuda=0.9)


class Comparison:
    """Two sides with the same weights, and what is found about them.

    Args:
        args: The command line of compare_upstream.py.
        folder: For temporary files.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.weights = folder / 'weights.pth'
        found = machine()
        if args.device == 'cuda':
            gpu = torch.cuda.get_device_properties(0)
            found.update(
                gpu=gpu.name,
                gpu_gib=gpu.total_memory / 2**30,
                cuda=torch.version.cuda,
            )
        self.content: dict[str, Any] = dict(
            command=' '.join(sys.argv),
            machine=found,
            matmul_peak=matmul_peak(args.device),
            parity=None,
            rows=[],
            skipped={},
        )

    def check(self) -> None:
        """Write the weights and compare both sides' outputs of two images.

        Raises:
            SystemExit: If they do not agree.
        """
        variant, device = self.args.variant, self.args.device
        Upstream(variant).save(self.weights)
        self.ours = Ours(variant, self.weights, device)
        self.upstream = Upstream(variant, self.weights, device)
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision('highest')
        outputs = [one.forward(2)() for one in (self.ours, self.upstream)]
        found = agreement(*outputs, TOLERANCE)
        self.content['parity'] = dict(found, tolerance=TOLERANCE)
        say(
            f'{100 * found["share"]:.1f} % of the queries agree within '
            f'{TOLERANCE} (median difference {found["median"]:.2g}, largest '
            f'{found["largest"]:.2g})'
        )
        if found['share'] < AGREEING[device]:
            stop('the sides differ: nothing is timed')

"""What was measured so far, so that an interrupted search goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfdetr_mm.errors import InputError
from rfdetr_mm.models import Subnet


class ResultsFile:
    """JSON lines: one that says what is measured, then one for each value.

    A line is complete or, after a crash, the last one and ignored.

    Args:
        path: The file; made if missing.
        about: What is measured and how. A file of another search is
            refused.

    Raises:
        InputError: If the file is of another search.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.latency_ms: dict[Subnet, float] = {}
        self.metrics: dict[Subnet, dict[str, float]] = {}
        lines = self._read()
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict(about)) + '\n')
            return
        if lines[0] != dict(about):
            different = [
                f'{key} is {about.get(key)!r} and was {lines[0].get(key)!r}'
                for key in {**lines[0], **about}
                if lines[0].get(key) != about.get(key)
            ]
            raise InputError(
                f'{path} holds the results of another search: '
                f'{"; ".join(different)}. Give another folder by --out, or '
                'delete the file'
            )
        for line in lines[1:]:
            subnet = Subnet.parse(line['subnet'])
            if 'latency_ms' in line:
                self.latency_ms[subnet] = line['latency_ms']
            else:
                self.metrics[subnet] = line['metrics']
        # A line that was cut off goes.
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines))

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        *complete, _ = self.path.read_text().split('\n')
        return [json.loads(line) for line in complete]

    def add_latency(self, subnet: Subnet, latency_ms: float) -> None:
        """Keep the latency of a real point, in ms."""
        self.latency_ms[subnet] = latency_ms
        self._append(dict(subnet=str(subnet), latency_ms=latency_ms))

    def add_metrics(self, subnet: Subnet, metrics: Mapping) -> None:
        """Keep the validation metrics of a real point."""
        self.metrics[subnet] = dict(metrics)
        self._append(dict(subnet=str(subnet), metrics=dict(metrics)))

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open('a') as file:
            file.write(json.dumps(line) + '\n')

"""From two graphs in TorchScript to the files of an ncnn model."""

import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from rfdetr_runtime.metadata import METADATA_FILE
from rfdetr_runtime.sessions.ncnn import DETECTIONS, PROPOSALS


def to_ncnn(
    program_file: str | os.PathLike[str], precision: str = 'fp32'
) -> dict[str, bytes]:
    """Convert a program.

    Args:
        program_file: What :meth:`NCNNProgram.save` wrote.
        precision: 'fp32'; 'fp16', weights alone.

    Returns:
        The content of each file of the ``.ncnn`` folder, by name.

    Raises:
        RuntimeError: If pnnx fails, or leaves an operator that ncnn does not
            have.
    """
    with zipfile.ZipFile(program_file) as archive:
        facts = json.loads(archive.read(METADATA_FILE))
        graphs = {
            name: archive.read(f'{name}.pt')
            for name in (PROPOSALS, DETECTIONS)
        }
    facts['precision'] = precision
    files = {METADATA_FILE: json.dumps(facts, indent=1).encode()}
    for name, graph in graphs.items():
        files.update(_convert(name, graph, precision))
    return files


def _convert(name: str, graph: bytes, precision: str) -> dict[str, bytes]:
    import pnnx

    with tempfile.TemporaryDirectory() as folder:
        # pnnx writes several files beside the one that it reads.
        Path(folder, f'{name}.pt').write_bytes(graph)
        done = subprocess.run(
            [pnnx.EXEC_PATH, f'{name}.pt', f'fp16={int(precision == "fp16")}'],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            check=False,
        )
        param = Path(folder, f'{name}.ncnn.param')
        if done.returncode or not param.is_file():
            raise RuntimeError(
                f'pnnx cannot convert the graph of the {name} (status '
                f'{done.returncode}): {done.stdout[-2000:]}'
            )
        check_layers(name, param.read_text())
        return {
            file.name: file.read_bytes()
            for file in (param, param.with_suffix('.bin'))
        }


def check_layers(name: str, param: str) -> None:
    """Make sure that ncnn has the layers of a graph.

    Args:
        name: The name of the graph, for the message.
        param: The text of its ``.param`` file.

    Raises:
        RuntimeError: If there is another one: pnnx writes operators under
            their names in PyTorch when it knows no better.
    """
    import ncnn

    kinds = {line.split()[0] for line in param.splitlines()[2:]}
    others = sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0)
    if others:
        raise RuntimeError(
            f'the graph of the {name} has operators that ncnn does not have: '
            f'{", ".join(others)}'
        )

"""Read checkpoint files without ever running what is in them."""

import contextlib
import json
import math
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError, naming

from .restricted_pickle import ForbiddenPickleError, restricted_pickle_module
from .transformers_files import (
    from_transformers,
    read_transformers_config,
    transformers_file,
)

_FORCE_WEIGHTS_ONLY = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'

_KNOWN_STARTS = (
    (b'\x89PNG', 'a PNG picture'),
    (b'\xff\xd8\xff', 'a JPEG picture'),
    (b'version https://git-lfs', 'a Git LFS pointer (run `git lfs pull`)'),
    (b'\x1f\x8b', 'a gzip archive (unpack it first)'),
)

_SAFETENSORS_DTYPES = {
    'F64': torch.float64,
    'F32': torch.float32,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'I64': torch.int64,
    'I32': torch.int32,
    'I16': torch.int16,
    'I8': torch.int8,
    'U8': torch.uint8,
    'BOOL': torch.bool,
}

MapLocation = str | torch.device | dict[str, str] | Callable[..., Any]


def read_checkpoint(
    path: str | os.PathLike[str], map_location: MapLocation = 'cpu'
) -> dict[str, Any]:
    """Read a checkpoint file into plain data; nothing in it is run.

    Reads PyTorch's zip and legacy formats with
    :class:`~.restricted_pickle.RestrictedUnpickler`, and ``.safetensors``.
    RF-DETR models of transformers, with their ``config.json``, get the layout
    of rfdetr's files; the folder may be given instead of the file.
    TorchScript archives and the tar format of PyTorch before 0.1.10 are
    refused, because reading them runs code.

    Args:
        path: The file.
        map_location: Device to put the tensors on, as in ``torch.load``.

    Returns:
        What the file holds, a dict at the top.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is a folder, empty, truncated or not a checkpoint,
            or if it asks for anything but data. The message names the
            forbidden name and the way out.
    """
    path = transformers_file(Path(path).expanduser())
    if path.is_dir():
        raise InputError(f'{path} is a folder, not a checkpoint file.')
    if not path.exists():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')
    with path.open('rb') as file:
        start = file.read(64)
    _check_start(path, start)
    if path.suffix == '.safetensors':
        weights = read_safetensors(path)
        config = read_transformers_config(path)
        with naming(path):
            content: Any = from_transformers(weights, config)
    else:
        content = _torch_load(path, start, map_location)
    if not isinstance(content, dict):
        raise InputError(
            f'{path} holds a {type(content).__name__}; a checkpoint is a dict '
            'of weights, or of weights and their meta data. Save it with '
            'torch.save({"state_dict": model.state_dict()}, path).'
        )
    return content


def _check_start(path: Path, start: bytes) -> None:
    """Refuse files whose first bytes say that they are something else."""
    if not start:
        raise InputError(f'{path} is empty (0 bytes).')
    kind = next((k for b, k in _KNOWN_STARTS if start.startswith(b)), None)
    if start.lstrip()[:1] == b'<':
        kind = 'a web page: the download address needs a login or is wrong'
    if kind is not None:
        raise InputError(f'{path} is not a checkpoint but {kind}.')


def _torch_load(path: Path, start: bytes, map_location: MapLocation) -> Any:
    try:
        if start.startswith(b'PK'):
            _refuse_torchscript(path)
        elif start[:1] != pickle.PROTO:
            # Every pickle that torch.save has written begins with PROTO.
            raise pickle.UnpicklingError('it does not start as one')
        with _weights_only_not_forced():
            return torch.load(
                str(path),
                map_location=map_location,
                pickle_module=restricted_pickle_module(),
                weights_only=False,
            )
    except ForbiddenPickleError as error:
        raise InputError(
            f'{path} is not loaded: {error}. Checkpoints are read as data '
            'only (tensors, plain containers, argument namespaces, numpy '
            'arrays), because any other name in a file could run code. If '
            'you trust the file, open it where it was made and save the '
            "weights alone: torch.save({'state_dict': "
            "torch.load(path, weights_only=False)['state_dict']}, new_path) "
            "(rfdetr files: 'model' in place of 'state_dict')."
        ) from error
    except InputError:
        raise
    except Exception as error:
        # torch raises many types for a broken file: RuntimeError, EOFError,
        # UnpicklingError, KeyError, AssertionError, UnicodeDecodeError …
        raise InputError(
            f'{path} ({path.stat().st_size} bytes) is not a readable '
            f'checkpoint: it is truncated or of another kind '
            f'({type(error).__name__}: {str(error).splitlines()[:1]}). '
            'Download or copy it again.'
        ) from error


def _refuse_torchscript(path: Path) -> None:
    """Raise InputError for a TorchScript archive, which is a program.

    Uses PyTorch's own zip reader, so that both see the same entries.
    """
    records = torch._C.PyTorchFileReader(str(path)).get_all_records()
    if 'constants.pkl' in records:
        raise InputError(
            f'{path} is a TorchScript program, not a checkpoint. Save the '
            'state_dict of the original model instead.'
        )


@contextlib.contextmanager
def _weights_only_not_forced() -> Iterator[None]:
    """Hide the switch that forbids ``pickle_module``; ours is as strict."""
    forced = os.environ.pop(_FORCE_WEIGHTS_ONLY, None)
    try:
        yield
    finally:
        if forced is not None:
            os.environ[_FORCE_WEIGHTS_ONLY] = forced


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file.

    Args:
        path: The file.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        InputError: If a size in the file does not fit the file.

    Source: the format's description, huggingface/safetensors README
        (Apache-2.0).
    """
    path = Path(path)
    with path.open('rb') as file:
        size = path.stat().st_size
        header_size = _safetensors_header_size(path, file.read(8), size)
        try:
            header = json.loads(file.read(header_size))
            header.pop('__metadata__', None)
            return {
                name: _read_safetensor(file, 8 + header_size, size, **entry)
                for name, entry in header.items()
            }
        except (
            *(ValueError, TypeError, KeyError, AttributeError),
            RecursionError,
        ) as error:
            raise InputError(
                f'{path} is a broken .safetensors file: {error}.'
            ) from error


def _safetensors_header_size(path: Path, start: bytes, size: int) -> int:
    header_size = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
    if not 2 <= header_size <= size - 8:
        raise InputError(
            f'{path} is a broken .safetensors file: a header of {header_size} '
            f'bytes does not fit into its {size} bytes.'
        )
    return header_size


def _read_safetensor(
    file: BinaryIO,
    data_start: int,
    file_size: int,
    dtype: str,
    shape: list[int],
    data_offsets: list[int],
) -> Tensor:
    torch_dtype = _SAFETENSORS_DTYPES[dtype]
    begin, end = data_offsets
    num_bytes = (
        math.prod(shape) * torch.empty(0, dtype=torch_dtype).element_size()
    )
    if min(shape, default=0) < 0 or end - begin != num_bytes:
        raise ValueError(f'{shape} of {dtype} is not {end - begin} bytes')
    if begin < 0 or data_start + end > file_size:
        raise ValueError(f'bytes {begin}-{end} lie outside the file')
    if num_bytes == 0:
        return torch.empty(shape, dtype=torch_dtype)
    file.seek(data_start + begin)
    buffer = bytearray(file.read(num_bytes))
    return torch.frombuffer(buffer, dtype=torch_dtype).reshape(shape)

"""Sessions of rfdetr_runtime behind the interface of mmdeploy."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BaseWrapper
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_runtime.sessions.session import Arrays, Session


class SessionWrapper(BaseWrapper):
    """Runs a file by its session.

    Subclasses time :meth:`_run` under the name of their backend.

    Args:
        session: The file in its runtime.
        output_names: Wanted outputs, in order; all of the file's unless
            given.

    Raises:
        InputError: If the file lacks an output.
    """

    def __init__(
        self, session: Session, output_names: Sequence[str] | None = None
    ) -> None:
        self._session = session
        known = sorted(session.output_shapes)
        super().__init__(choose_outputs(session.file, known, output_names))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the model.

        Args:
            inputs: One entry, images of shape (bs, channels, h_px, w_px); a
                file of one batch size runs other batches in parts.

        Returns:
            The wanted outputs by name.

        Raises:
            InputError: If the images are of another size.
        """
        (images,) = inputs.values()
        outputs = self._run(images.detach().cpu().contiguous().numpy())
        return {
            name: torch.from_numpy(outputs[name]) for name in self.output_names
        }

    def _run(self, images: np.ndarray) -> Arrays:
        return self._session.run(images)


def choose_outputs(
    file: str, known: Sequence[str], wanted: Sequence[str] | None
) -> Sequence[str]:
    """Names of the outputs that a wrapper gives.

    Args:
        file: Its name, for the message.
        known: Outputs of the file.
        wanted: Some of them, in order; all unless given.

    Returns:
        The wanted ones.

    Raises:
        InputError: If the file lacks one of them.
    """
    if not set(wanted or ()) <= set(known):
        raise InputError(
            f'{file} has the outputs {known}, wanted are {list(wanted)}: use '
            'the deploy config that it was exported with'
        )
    return wanted or known

"""A model that takes its time, so that a run can be killed in the middle."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from rfdetr_runtime.scale import FileLoader


@dataclass(frozen=True)
class Slow:
    """A function that sleeps before it is called.

    Args:
        function: What is called then.
        seconds: How long.
    """

    function: Callable
    seconds: float

    def __call__(self, *args):
        time.sleep(self.seconds)
        return self.function(*args)


@dataclass(frozen=True)
class SlowLoader(FileLoader):
    """An exported file that is slow for each image and each batch.

    Args:
        seconds: How long.
    """

    seconds: float = 0.05

    def load(self, gpu):
        model = super().load(gpu)
        prepare = Slow(model.facts.prepare, self.seconds)
        model.facts = replace(model.facts, prepare=prepare)
        model.detect = Slow(model.detect, self.seconds)
        return model

"""An experiment under `torchrun`: the first rank drives, and every run is executed by all ranks together."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from lossbench.executors.processes import SerialExecutor
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.spec import from_json, to_json
from lossbench.specification.training_settings import Training


class RankExecutor(SerialExecutor):
    """Runs each call at once, on all ranks; only the first one's result counts."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Tell the other ranks the specification and where its state is kept, and run it here too."""
        from lossbench.run import parallel

        parallel.from_first([to_json(args[0]), *args[1:]])
        return super().submit(fn, *args, **kwargs)


def started() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process drives, as it does without `torchrun`."""
    return os.environ.get("RANK", "0") == "0"


def check(training: Training) -> None:
    """See that `torchrun` started as many processes as the experiment states; the number is part of what a run is.

    Raises:
        SpecError: another number.
    """
    wanted, found = training.processes, started()
    if wanted != found and found > 1:
        raise SpecError([f"training.processes: {wanted}: torchrun started {found}; --set training.processes={found}"])
    if wanted != found:
        how = f"torchrun --nproc-per-node {wanted} -m lossbench run ..."
        raise SpecError([f"training.processes: {wanted}: start them with `{how}`"])


@contextlib.contextmanager
def drive(training: Training) -> Iterator[RankExecutor]:
    """The first rank's side: an executor for as long as the block lasts; then the other ranks end."""
    from lossbench.run import parallel

    with parallel.group(training.device):
        yield RankExecutor()
        parallel.from_first(None)


def serve(training: Training) -> None:
    """The life of every other rank: take part in one run after another until the first rank has no more."""
    from lossbench.run import parallel
    from lossbench.run.execution import execute
    from lossbench.run.unfinished import Saving

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and torchrun's way to end the others
    with parallel.group(training.device):
        while (content := parallel.from_first(None)) is not None:
            spec, *saving = content
            execute(from_json(spec), *(Saving(*each) for each in saving))

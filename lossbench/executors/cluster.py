"""Runs on other machines: an executor on dask.distributed, whose nodes run each call in a worker process of theirs.

A node keeps a `ProcessExecutor`, so that a run is executed, limited and watched on a cluster exactly as it is here.
Dask finds a node, carries specification and result, and sends the runs of a node that dies elsewhere. Its transport
pickles: a scheduler's address is to be reachable by trusted machines only (SECURITY.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from functools import lru_cache
from typing import Any

from lossbench.executors.processes import ProcessExecutor, WorkerDiedError
from lossbench.plugins import Kind, registry
from lossbench.specification.experiment import Resources
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.spec import RunSpec

COUNTED_S = 1.0  # how long a count of the cluster's slots is believed
PRELOAD = ("lossbench.run.execution",)

Signature = tuple[str, tuple[tuple[str, str], ...]]


class ClusterError(OSError):
    """The cluster cannot be used; the message is one line for the user."""


class ClusterExecutor(Executor):
    """Runs calls on the nodes of a dask cluster; nodes may come and go.

    Args:
        address: of a running scheduler (`tcp://host:8786`), or `local:N` for N nodes on this machine.
        resources: what a call takes of a node; `gpus`, and more than one of `cpus`, must be declared by the nodes.
        limit_s: seconds after which a call's worker is killed.

    Raises:
        ClusterError: dask is not installed, or no scheduler answers.
    """

    def __init__(self, address: str, *, resources: Resources, limit_s: float | None = None) -> None:
        self._demand = demand(resources)
        self._limit_s = limit_s
        self._counted: tuple[float, int] = (-COUNTED_S, 1)
        with _dask_errors(address) as distributed:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said by the driver
            self._cluster = _local_cluster(distributed, address) if address.startswith("local:") else None
            self._client = distributed.Client(self._cluster or address, timeout="30s", set_as_default=False)
            self._killed = distributed.KilledWorker
        self.address = address

    @property
    def workers(self) -> int:
        """Calls that the nodes of this moment run at once; 1 while there is none."""
        counted, slots = self._counted
        if time.monotonic() - counted > COUNTED_S:
            with contextlib.suppress(Exception):  # a scheduler that is gone fails the calls themselves
                slots = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic(), slots
        return slots

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to the cluster."""
        future: Future[Any] = Future()
        remote = self._client.submit(
            run_on_node, signature(), self._limit_s, fn, args, kwargs, pure=False, resources=self._demand
        )
        self._client.loop.add_callback(self._land, remote, future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one that was started here ends."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=10)

    async def _land(self, remote: Any, future: Future[Any]) -> None:
        """Wait on the client's own loop: dask's callbacks share one thread, which a client that is closed can block."""
        try:
            future.set_result(await self._client.gather(remote, asynchronous=True))
        except self._killed as error:
            future.set_exception(WorkerDiedError(f"its nodes died ({error.allowed_failures + 1} of them)"))
        except (CancelledError, asyncio.CancelledError):
            future.set_exception(ClusterError(f"{self.address}: the cluster is gone; what had finished is kept"))
        except BaseException as error:
            future.set_exception(error)


def demand(resources: Resources) -> dict[str, float]:
    """What dask is asked for; one CPU is what each of a node's threads stands for anyway."""
    asked = {"cpus": resources.cpus if resources.cpus > 1 else 0.0, "gpus": resources.gpus}
    return {name: float(amount) for name, amount in asked.items() if amount}


@lru_cache
def signature() -> Signature:
    """What must be equal on driver and node for a result to belong to its specification."""
    kinds: tuple[Kind, ...] = ("loss", "backbone")
    plugins = [registry.find(kind, name) for kind in kinds for name in registry.names(kind)]
    return code_digest(plugin for plugin in plugins if plugin.builtin), library_versions()


def run_on_node(
    sender: Signature,
    limit_s: float | None,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """What a node does with a call: check that it is of one kind with the driver, then hand it to a worker process.

    Raises:
        ClusterError: other code or libraries than the driver's.
        WorkerDiedError, TimeLimitError: as `ProcessExecutor`.
    """
    _check_alike(sender)
    if args and isinstance(args[0], RunSpec):
        _have_data(args[0].task.dataset)
    return _pool(limit_s).submit(fn, *args, **kwargs).result()


def _check_alike(sender: Signature) -> None:
    import distributed

    if signature() == sender:
        return
    ours, theirs = dict(signature()[1]), dict(sender[1])
    other = [
        f"{name} {ours.get(name)} instead of {version}" for name, version in theirs.items() if ours[name] != version
    ]
    what = ", ".join(other) or "other lossbench code than the driver"
    raise ClusterError(f"node {distributed.get_worker().address} has {what}")


def _have_data(name: str) -> None:
    """Fetch a data set's files where this node lacks them; one process of a machine at a time."""
    from lossbench.datasets import fetch
    from lossbench.datasets.cache import data_folder
    from lossbench.datasets.sources import SOURCES
    from lossbench.executors.lock import locked

    name = name.partition(":")[0]
    if name not in SOURCES:
        return
    folder = data_folder()
    if all((folder / name / file.name).is_file() for file in SOURCES[name].files):
        return
    (folder / name).mkdir(parents=True, exist_ok=True)
    with locked(folder / name / ".fetch.lock", wait=True):
        fetch.fetch(name, folder)


_starting = threading.Lock()
_pools: dict[float | None, ProcessExecutor] = {}


def _pool(limit_s: float | None) -> ProcessExecutor:
    """This node's worker processes, one for each of its threads."""
    import distributed

    with _starting:
        if limit_s not in _pools:
            # Dask marks its own processes as unable to have children; ours end with their parent all the same.
            multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
            _pools[limit_s] = ProcessExecutor(distributed.get_worker().state.nthreads, limit_s=limit_s, preload=PRELOAD)
        return _pools[limit_s]


def _local_cluster(distributed: Any, address: str) -> Any:
    count = address.removeprefix("local:")
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise ClusterError(f"--cluster {address}: {count!r} is not a number of nodes; local:2 starts two")
    return distributed.LocalCluster(
        n_workers=int(count),
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )


@contextlib.contextmanager
def _dask_errors(address: str) -> Iterator[Any]:
    """dask.distributed, with its failures to start or connect as one line."""
    try:
        import distributed
    except ImportError as error:
        raise ClusterError("--cluster needs dask: pip install 'lossbench[cluster]'") from error
    try:
        yield distributed
    except ClusterError:
        raise
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"--cluster {address}: no scheduler answers: {reason}") from error

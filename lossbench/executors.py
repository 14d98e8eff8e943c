"""Where runs happen: in this process, or in a pool of spawned ones, behind `concurrent.futures.Executor`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection, wait
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerDiedError(RuntimeError):
    """The process that ran a call ended before it returned."""


class SerialExecutor(Executor):
    """Runs each call at once, in this process."""

    workers = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ProcessExecutor(Executor):
    """A fixed number of spawned worker processes, kept alive between calls, one thread of computation each.

    Unlike `ProcessPoolExecutor`, the death of a worker concerns its own call only: that future raises
    `WorkerDiedError`, a new worker takes the place, and every other call goes on.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._calls: queue.SimpleQueue[tuple[Future[Any], Any] | None] = queue.SimpleQueue()
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, multiprocessing.process.BaseProcess] = {}
        self._closed = False
        self._threads = [threading.Thread(target=self._attend, args=(slot,), daemon=True) for slot in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call; function and arguments are pickled."""
        if self._closed:
            raise RuntimeError("submit after shutdown")
        future: Future[Any] = Future()
        self._calls.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: after their calls, or at once with `wait=False`."""
        self._closed = True
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while entry := self._calls.get_nowait():
                    entry[0].cancel()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
        for process in list(self._processes.values()):
            process.kill()

    def _attend(self, slot: int) -> None:
        """Serve calls with one worker process after another."""
        if hasattr(signal, "pthread_sigmask"):  # Ctrl-C is the driver's business: workers are born deaf to it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        connection: Connection | None = None
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            if connection is None:
                connection = self._start(slot)
            try:
                connection.send(call)
                succeeded, value = connection.recv()
            except (EOFError, OSError):
                process = self._processes[slot]
                process.join()
                connection = None
                future.set_exception(WorkerDiedError(f"its worker died (exit code {process.exitcode})"))
            except Exception as error:  # the call could not be pickled
                future.set_exception(error)
            else:
                (future.set_result if succeeded else future.set_exception)(value)
        if connection is not None:
            connection.close()

    def _start(self, slot: int) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._processes[slot] = process
        return ours


def _serve(connection: Connection) -> None:
    """A worker's life: receive a call, run it, send what came of it; end with the driver."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # read when the first call imports torch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, fn(*args, **kwargs)
        except Exception as error:
            answer = False, error
        connection.send(answer)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    os._exit(1)

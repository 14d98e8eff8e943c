"""Where runs happen: in this process, or in a pool of spawned ones, behind `concurrent.futures.Executor`."""

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import os
import queue
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from lossbench.executors.threads import ONE_THREAD
from lossbench.run.clock import TimeLimitError

LOG_BYTES = 1 << 20  # of a worker's log before it starts anew; one older log is kept
LAST_WORDS = 2000  # bytes of a worker's output that explain its death
_SPAWNING = threading.Lock()


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

    Args:
        limit_s: seconds after which a call's worker is killed and its future raises `TimeLimitError`; a worker that
            hangs, in native code too, cannot keep its place.
        preload: modules that a worker imports before its first call, outside of any limit.
        environments: variables of each worker, for example the GPU it may see.
        logs: folder for what workers print, a file of bounded size each; None: it is not kept.
    """

    def __init__(
        self,
        workers: int,
        *,
        limit_s: float | None = None,
        preload: Sequence[str] = (),
        environments: Sequence[Mapping[str, str]] = (),
        logs: Path | None = None,
    ) -> None:
        self.workers = workers
        self._limit_s, self._preload, self._environments, self._logs = limit_s, preload, environments, logs
        self._calls: queue.SimpleQueue[tuple[Future[Any], Any] | None] = queue.SimpleQueue()
        self._context = multiprocessing.get_context("spawn")
        self._places: dict[int, _Worker] = {}
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
        for worker in list(self._places.values()):
            worker.process.kill()

    def pids(self) -> list[int]:
        """The worker processes that are alive."""
        processes = [worker.process for worker in list(self._places.values())]
        return sorted(process.pid for process in processes if process.pid and process.is_alive())

    def _attend(self, slot: int) -> None:
        """Serve calls with one worker process after another."""
        if hasattr(signal, "pthread_sigmask"):  # stopping is the driver's business: workers are born deaf to it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        worker: _Worker | None = None
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or self._start(slot)
                succeeded, value = worker.run(call, self._limit_s)
            except (WorkerDiedError, TimeLimitError) as error:
                worker = None
                future.set_exception(error)
            except Exception as error:  # the call could not be pickled
                future.set_exception(error)
            else:
                (future.set_result if succeeded else future.set_exception)(value)
        if worker is not None:
            worker.connection.close()

    def _start(self, slot: int) -> _Worker:
        environment = self._environments[slot] if self._environments else {}
        log = None if self._logs is None else self._logs / f"worker-{slot}.log"
        worker = _Worker(self._context, {**environment, **ONE_THREAD}, self._preload, log)
        self._places[slot] = worker
        worker.get_ready()
        return worker


class _Worker:
    """A process and the driver's ends of its pipes: calls and answers, and what it prints."""

    def __init__(self, context: Any, environment: Mapping[str, str], preload: Sequence[str], log: Path | None) -> None:
        self.connection, theirs = context.Pipe()
        printed, self._prints = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, self._prints, environment, preload), daemon=True
        )
        with _without_main():
            self.process.start()
        theirs.close()
        self._prints.close()
        self._tail = b""
        self._reader = threading.Thread(target=self._listen, args=(printed, log), daemon=True)
        self._reader.start()

    def get_ready(self) -> None:
        """Wait until the process has started and imported what it was told to.

        Raises:
            WorkerDiedError: it ended instead.
        """
        self._receive()

    def run(self, call: Any, limit_s: float | None) -> tuple[bool, Any]:
        """Whether a call succeeded, and its result or exception.

        Raises:
            WorkerDiedError: the process ended before it answered.
            TimeLimitError: it took longer than `limit_s` and was killed.
        """
        try:
            self.connection.send(call)
        except OSError as error:
            raise self._death() from error
        if not self.connection.poll(limit_s):
            self.process.kill()
            self.process.join()
            raise TimeLimitError(f"gave no answer for {limit_s:g} s; its worker was killed")
        answer: tuple[bool, Any] = self._receive()
        return answer

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error

    def _death(self) -> WorkerDiedError:
        self.process.join()
        self._reader.join(timeout=1.0)
        code = self.process.exitcode or 0
        how = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        said = [line for line in self._tail.decode(errors="replace").splitlines() if line.strip()]
        return WorkerDiedError(f"its worker died ({how})" + (f"; it last said: {said[-1][:200]}" if said else ""))

    def _listen(self, printed: Connection, log: Path | None) -> None:
        """Take whatever the process prints, so that it never waits for a reader, and keep a bounded part."""
        with contextlib.suppress(OSError):
            while data := os.read(printed.fileno(), 1 << 16):
                self._tail = (self._tail + data)[-LAST_WORDS:]
                if log is not None:
                    with contextlib.suppress(OSError):  # a full disk must not stop the reading
                        _append(log, data)
        printed.close()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the driver's main module from a process that is being spawned: it would run a user's script once more."""
    with _SPAWNING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _append(log: Path, data: bytes) -> None:
    """Write to a log; one that has grown to its size becomes the older one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(data)
        size = file.tell()
    if size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))


def _serve(connection: Connection, prints: Connection, environment: Mapping[str, str], preload: Sequence[str]) -> None:
    """A worker's life: receive a call, run it, send what came of it; end with the driver."""
    os.environ.update(environment)  # read when torch is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform != "win32":
        for stream in (1, 2):
            os.dup2(prints.fileno(), stream)
        for file in (sys.stdout, sys.stderr):  # whole lines at once, as the last ones may explain a death
            if isinstance(file, io.TextIOWrapper):
                file.reconfigure(line_buffering=True)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    for module in preload:
        importlib.import_module(module)
    connection.send(None)
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, fn(*args, **kwargs)
        except Exception as error:
            answer = False, error
        except SystemExit as end:  # at once: a process that lost its GPU may hang where it tidies up
            words = isinstance(end.code, str)
            if words:
                print(end.code, file=sys.stderr)
            os._exit(1 if words else int(end.code or 0))
        connection.send(answer)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    wait([driver.sentinel])
    os._exit(1)

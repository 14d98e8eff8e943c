"""Workers that hang, print, crash or wait: each concerns its own call only, and leaves bounded traces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lossbench.executors.processes import LOG_BYTES, ProcessExecutor, WorkerDiedError
from lossbench.run.clock import TimeLimitError


def shout(megabytes: int) -> int:
    for _ in range(megabytes):
        os.write(1, b"x" * (1 << 20))
    print("and that was all")
    return megabytes


def last_words(words: str) -> None:
    print(words)
    os.kill(os.getpid(), signal.SIGKILL)


def spin() -> None:
    while True:
        pass


@pytest.fixture
def pool(tmp_path):
    made = []

    def make(**options):
        made.append(ProcessExecutor(1, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(wait=False, cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("hang", [(time.sleep, 600), (spin,)], ids=["asleep", "busy"])
def test_a_call_over_its_limit_loses_its_worker_and_the_next_one_goes_on(pool, hang):
    executor = pool(limit_s=3.0)
    before = executor.submit(os.getpid).result()
    with pytest.raises(TimeLimitError, match="no answer for 3 s"):
        executor.submit(*hang).result()
    assert executor.submit(os.getpid).result() != before


def test_a_printing_worker_neither_stops_nor_fills_the_disk(pool, tmp_path, capfd):
    executor = pool(logs=tmp_path / "logs")
    assert executor.submit(shout, 20).result() == 20
    assert executor.submit(shout, 1).result() == 1
    kept = sum(path.stat().st_size for path in (tmp_path / "logs").iterdir())
    assert 0 < kept <= 2 * (LOG_BYTES + (1 << 16))
    assert capfd.readouterr().out == ""  # the terminal is the driver's


def test_a_death_says_how_and_what_was_said_last(pool):
    executor = pool()
    with pytest.raises(WorkerDiedError, match=r"killed by signal 9.*it last said: no more memory"):
        executor.submit(last_words, "no more memory").result()
    with pytest.raises(WorkerDiedError, match="exit code 3"):
        executor.submit(os._exit, 3).result()
    with pytest.raises(WorkerDiedError, match="exit code 4"):
        executor.submit(sys.exit, 4).result()
    with pytest.raises(WorkerDiedError, match=r"exit code 1.*it last said: the GPU is lost"):
        executor.submit(sys.exit, "the GPU is lost").result()


def test_workers_see_the_environment_of_their_place_and_are_counted(pool):
    executor = pool(environments=[{"CUDA_VISIBLE_DEVICES": "3"}])
    assert executor.pids() == []
    assert executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "3"
    assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert executor.pids() == [executor.submit(os.getpid).result()]


def test_a_scheduler_signal_to_all_processes_leaves_the_workers_to_the_driver(pool):
    executor = pool()
    pid = executor.submit(os.getpid).result()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    assert executor.submit(os.getpid).result() == pid


def test_a_script_without_a_guard_is_not_run_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nfrom lossbench.executors.processes import ProcessExecutor\nprint('once')\n"
        "executor = ProcessExecutor(2)\n"
        "futures = [executor.submit(os.getpid) for _ in range(4)]\n"
        "assert os.getpid() not in [future.result() for future in futures]\n"
        "assert sys.modules['__main__'].__file__ == __file__\nexecutor.shutdown()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("once\n", "", 0)

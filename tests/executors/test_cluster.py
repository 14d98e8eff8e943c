"""A real dask cluster of node processes: the same bits, and nothing lost with a node but what it was running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

from experiments import ABLATION, TINY, sweep, tiny_plan  # noqa: E402
from lossbench.cli import main  # noqa: E402
from lossbench.executors.cluster import ClusterError, ClusterExecutor, demand, signature  # noqa: E402
from lossbench.executors.processes import WorkerDiedError  # noqa: E402
from lossbench.run.clock import TimeLimitError  # noqa: E402
from lossbench.specification.experiment import Resources  # noqa: E402

LIMIT_S = 400
PLAN = ("training.epochs=1", "budget.trials=4", "budget.seeds=3", 'recipes=["softmax", "softmax+center"]')


def figures(store, plan):
    table = store.table(store.read_plan(plan.experiment.name))
    return table.drop(columns=[name for name in table if name.startswith("cost.")])


def wait_until(condition, seconds=LIMIT_S):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.1)


def node_of(pid: int) -> int:
    """The process id of whoever runs this: a node's worker process, and its parent, the node."""
    return os.getppid()


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0, resources={"gpus": 1}
    ) as started:
        yield started


@pytest.fixture
def executor(cluster):
    made = ClusterExecutor(cluster.scheduler_address, resources=Resources(), limit_s=300.0)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_two_nodes_give_the_bits_of_the_serial_run_and_a_killed_node_loses_only_what_it_ran(
    cluster, executor, tmp_path
):
    """One node is killed with a run on it; a third one, which joins late, and the other finish everything."""
    plan = tiny_plan(*PLAN)
    serial, _ = sweep(plan, tmp_path / "serial")
    victims = []

    class Killing(type(executor)):
        """The executor of the test, but it kills a node under its fourth run."""

        def __init__(self):
            self.__dict__ = executor.__dict__
            self.calls = 0

        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            self.calls += 1
            if self.calls == 4:
                busy = next(iter(cluster.workers.values()))
                victims.append(busy.pid)
                os.kill(busy.pid, signal.SIGKILL)
                cluster.scale(3)
            return future

    store, progress = sweep(plan, tmp_path / "cluster", Killing())
    assert victims
    assert figures(store, plan).equals(figures(serial, plan))
    assert progress.executed == len(figures(serial, plan)["run_id"])
    assert not any("attempt" in message for message in progress.messages)  # dask sent them elsewhere
    wait_until(lambda: executor.workers >= 3)


@pytest.mark.slow
def test_a_death_or_a_hang_inside_a_node_is_that_of_a_worker_and_the_node_lives_on(cluster):
    limited = ClusterExecutor(cluster.scheduler_address, resources=Resources(), limit_s=10.0)
    try:
        with pytest.raises(WorkerDiedError, match="exit code 7"):
            limited.submit(os._exit, 7).result(LIMIT_S)
        with pytest.raises(TimeLimitError):
            limited.submit(time.sleep, 600).result(LIMIT_S)
        with pytest.raises(ZeroDivisionError):
            limited.submit(divmod, 1, 0).result(LIMIT_S)
        assert limited.submit(divmod, 7, 2).result(LIMIT_S) == (3, 1)
    finally:
        limited.shutdown()


def test_a_call_goes_only_where_its_resources_are(cluster):
    assert demand(Resources()) == {}
    assert demand(Resources(cpus=2, gpus=0.25)) == {"cpus": 2.0, "gpus": 0.25}
    quarter = ClusterExecutor(cluster.scheduler_address, resources=Resources(gpus=0.25))
    greedy = ClusterExecutor(cluster.scheduler_address, resources=Resources(gpus=2))
    try:
        waiting = greedy.submit(os.getpid)
        assert quarter.submit(divmod, 7, 2).result(LIMIT_S) == (3, 1)
        assert not waiting.done()  # no node has two GPUs
    finally:
        quarter.shutdown()
        greedy.shutdown()


def test_results_land_while_the_callbacks_of_another_client_hang(cluster, executor):
    """Dask runs all callbacks of a process in one thread; a client that is closed under one of them blocks it."""
    over = threading.Event()
    with distributed.Client(cluster, set_as_default=False) as other:
        blocking = other.submit(divmod, 7, 2, pure=False)
        blocking.add_done_callback(lambda _: over.wait(LIMIT_S))
        try:
            assert blocking.result(LIMIT_S) == (3, 1)
            assert executor.submit(divmod, 8, 2).result(60) == (4, 0)
        finally:
            over.set()


def test_a_node_of_other_code_is_refused_by_name(executor, monkeypatch):
    code, libraries = signature()
    monkeypatch.setattr("lossbench.executors.cluster.signature", lambda: (code, (("torch", "1.0"), *libraries[1:])))
    with pytest.raises(ClusterError, match=r"node tcp://.* has torch .* instead of 1\.0"):
        executor.submit(os.getpid).result(LIMIT_S)
    monkeypatch.setattr("lossbench.executors.cluster.signature", lambda: ("0" * 16, libraries))
    with pytest.raises(ClusterError, match="has other lossbench code than the driver"):
        executor.submit(os.getpid).result(LIMIT_S)


@pytest.mark.slow
def test_a_cluster_that_is_gone_is_one_line(tmp_path):
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")]
    scheduler = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "scheduler.json").exists())
        import json

        address = json.loads((tmp_path / "scheduler.json").read_text())["address"]
        executor = ClusterExecutor(address, resources=Resources())
        future = executor.submit(os.getpid)
        scheduler.kill()
        with pytest.raises(ClusterError, match="the cluster is gone; what had finished is kept"):
            future.result(LIMIT_S)
        with contextlib.suppress(Exception):
            executor.shutdown()
    finally:
        scheduler.kill()
        scheduler.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cluster", "local:none"], "'none' is not a number of nodes"),
        (["--cluster", "local:0"], "'0' is not a number of nodes"),
        (["--cluster", "nowhere"], "--cluster nowhere: no scheduler answers"),
        (["--cluster", "local:1", "--workers", "2"], "leave --workers out"),
    ],
)
def test_a_cluster_that_cannot_be_is_one_line(tmp_path, arguments, expected):
    command = ["run", str(ABLATION), *arguments, "--runs", str(tmp_path / "runs"), "--reports", str(tmp_path / "out")]
    for value in TINY:
        command += ["--set", value]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert expected in result.output
    assert len(result.output.splitlines()) == 1

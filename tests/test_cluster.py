"""A real dask cluster of node processes: a run that dies or hangs costs itself; what cannot be is one line."""

from __future__ import annotations

import os
import time

import pytest
from click.testing import CliRunner

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

from experiments import ABLATION, TINY  # noqa: E402
from lossbench.cli import main  # noqa: E402
from lossbench.cluster import ClusterExecutor  # noqa: E402
from lossbench.cost import TimeLimitError  # noqa: E402
from lossbench.executors import WorkerDiedError  # noqa: E402
from lossbench.spec import Resources  # noqa: E402

LIMIT_S = 400


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0, resources={"gpus": 1}
    ) as started:
        yield started


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

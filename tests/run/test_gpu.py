"""What holds on a GPU: the same scores as on a CPU, no waiting within an epoch, and runs that cost themselves only."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import run_spec
from lossbench import metrics
from lossbench.executors.processes import ProcessExecutor, WorkerDiedError
from lossbench.run.clock import make_clock
from lossbench.run.data import task_data
from lossbench.run.execution import build, execute
from lossbench.run.history import History
from lossbench.run.measuring import measure_steps
from lossbench.run.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

BREAKS = """
import torch
from lossbench import loss

class OutOfRange(torch.nn.Module):
    def forward(self, embeddings, labels):
        return embeddings[labels + len(embeddings)].sum()

@loss("out-of-range")
def build(problem):
    return OutOfRange()
"""


def trained(device: str, *settings: str) -> History:
    """Training alone, without evaluation."""
    spec = run_spec("softmax+center", f"training.device={device}", *settings)
    data = task_data(spec)
    images, labels = data.train.images, data.train.labels
    return train(build(spec, data), images, labels, spec, make_clock(device), lambda epoch: {"val_map_at_r": 0.0})


@pytest.mark.parametrize("recipe", ["softmax+center", "triplet"])
def test_a_run_scores_as_on_a_cpu_and_again_the_same(recipe):
    on_cpu = execute(run_spec(recipe, "training.epochs=4")).record
    on_gpu, again = (execute(run_spec(recipe, "training.epochs=4", "training.device=cuda")).record for _ in range(2))
    assert on_gpu["environment"]["gpu"] == torch.cuda.get_device_name()
    assert on_gpu["cost"]["peak_memory_bytes"] > 0
    for group, scores in on_gpu["metrics"].items():
        assert scores == pytest.approx(again["metrics"][group], nan_ok=True, rel=0, abs=0)
    for group, name in (("val", "sphere.map_at_r"), ("test", "sphere.map_at_r"), ("test", "sphere.intra_inter_ratio")):
        assert on_gpu["metrics"][group][name] == pytest.approx(on_cpu["metrics"][group][name], abs=0.05)


def test_the_first_step_is_that_of_a_cpu():
    here, there = (trained(device, "training.epochs=1", "training.batch_size=1000") for device in ("cpu", "cuda"))
    assert here.steps == 1
    assert there.curves["loss"][1] == pytest.approx(here.curves["loss"][1], rel=1e-5)  # TF32 would be off by 1e-3


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_nothing_waits_for_the_device_within_an_epoch(precision):
    waits = []
    for batch_size in (32, 128):  # four times the steps, the same waits
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trained(
                "cuda", f"training.precision={precision}", "training.augment=shift", f"training.batch_size={batch_size}"
            )
        torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(each.message) for each in caught))
    assert waits[0] == waits[1] > 0


def test_metrics_of_points_on_a_gpu_are_those_on_a_cpu():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 30, (2000,), generator=generator)
    points = torch.randn(2000, 16, generator=generator) + torch.randn(30, 16, generator=generator)[labels]
    for name in ("distance_statistics", "retrieval_metrics"):
        here, there = (getattr(metrics, name)(points.to(device), labels.to(device)) for device in ("cpu", "cuda"))
        assert there == pytest.approx(here, rel=1e-9)


def test_the_cost_probe_measures_on_the_device():
    specs = {name: run_spec(name, "training.device=cuda", final=False) for name in ("softmax", "triplet")}
    found = measure_steps(specs)
    assert found["failed"] == {}
    assert found["environment"]["gpu"]
    assert min(min(each["step_s"]) for each in found["recipes"].values()) > 0


def test_a_run_that_loses_the_gpu_ends_its_process_and_no_other_run(tmp_path: Path):
    plugin = tmp_path / "breaks.py"
    plugin.write_text(BREAKS)
    good = run_spec("softmax", "training.device=cuda", "training.epochs=1")
    bad = replace(good, terms=(replace(good.terms[0], loss="out-of-range", params=()),), plugin_files=(str(plugin),))
    executor = ProcessExecutor(1, preload=("lossbench.run.execution",))
    try:
        with pytest.raises(WorkerDiedError, match="answers this process no more"):
            executor.submit(execute, bad).result()
        assert executor.submit(execute, good).result().record["status"] == "ok"
    finally:
        executor.shutdown(wait=False)

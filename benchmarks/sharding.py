"""A step of softmax + centre loss over many classes, D = 512: seconds and memory on one rank and on two that share,
and on one rank whose head draws a tenth of the classes for each step.

As a module it is what each rank does: `torchrun --nproc-per-node 2 -m benchmarks.sharding CLASSES NEGATIVES` prints one
line.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from benchmarks.measure import Row
from lossbench.plugins import Problem, registry
from lossbench.run import device, parallel, sharding
from lossbench.run.model import WeightedLoss, combine
from lossbench.run.sampled import move_parts_only

DIM, BATCH, STEPS = 512, 64, 5
NEGATIVES = 0.1
SIZES = (10_000, 100_000, 1_000_000)


def rows() -> Iterator[Row]:
    """Wall seconds, as ranks wait for one another; memory of the process at its largest, by the system's count."""
    for classes in SIZES:
        one, two, drawn = measure(classes, 1), measure(classes, 2), measure(classes, 1, NEGATIVES)
        what = f"softmax+center, C {classes:,}, D {DIM}, batch {BATCH}, Adam: a step, two ranks against one (wall)"
        base = f"memory of a rank there, {two['base_gb']:.2f} GB of it before anything is built"
        yield _row(what, two, one, "step_s", "{:.3g} s")
        yield _row(base, two, one, "peak_gb", "{:.2f} GB")
        what = f"the same on one rank, {NEGATIVES:g} of the classes at a step against all (wall)"
        yield _row(what, drawn, one, "step_s", "{:.3g} s")
        yield _row("memory there", drawn, one, "peak_gb", "{:.2f} GB")


def _row(what: str, ours: dict[str, Any], peer: dict[str, Any], figure: str, shown: str) -> Row:
    ratio = f"{peer[figure] / ours[figure]:.2f}"
    return Row(what=what, ours=shown.format(ours[figure]), peer=shown.format(peer[figure]), ratio=ratio)


def measure(classes: int, ranks: int, negatives: float = 1.0) -> dict[str, Any]:
    """What the first of so many ranks says of its steps."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*start, "-m", "benchmarks.sharding", str(classes), str(negatives)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def step_costs(classes: int, negatives: float) -> dict[str, float]:
    """Median seconds of a step after the first, and the largest memory of this process."""
    base = _peak_gb()
    problem = Problem(num_classes=classes, embedding_dim=DIM, generator=torch.Generator().manual_seed(0))
    losses = [
        WeightedLoss(
            name,
            weight,
            sharding.sharded(registry.find("loss", name).build(problem), negatives, torch.Generator().manual_seed(3)),
        )
        for name, weight in (("softmax", 1.0), ("center", 0.003))
    ]
    params = [param for term in losses for param in term.module.parameters()]
    optimizer = torch.optim.Adam(params, lr=1e-3, fused=True)
    move_parts_only(optimizer, [term.module for term in losses])
    points = torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.randint(classes, (BATCH,), generator=torch.Generator().manual_seed(2))
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        combine(losses, points, labels)[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return {"step_s": median(seconds[1:]), "peak_gb": _peak_gb(), "base_gb": base}


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    device.set_up("cpu")
    with parallel.group("cpu"):
        costs = step_costs(int(sys.argv[1]), float(sys.argv[2]))
        if parallel.rank() == 0:
            print(json.dumps(costs))

"""What each rank of the tests of data-parallel training does; run by `forked_ranks`, and alone for the reference.

Writes `rank<r>.pt` into the folder given: `steps`, the states after three float64 steps by recipe, and `runs`,
figures and final state of whole runs.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch
from torch import nn

from experiments import run_spec
from lossbench.plugins import Problem, registry
from lossbench.run import parallel
from lossbench.run.execution import execute
from lossbench.run.model import Model, WeightedLoss, combine
from lossbench.run.necks import Necked

NECK = "/neck"  # behind a recipe: with one
RECIPES = ("softmax", "softmax+center", "contrastive", "triplet", "softmax+contrastive", f"softmax+triplet{NECK}")
SETTING = ("training.epochs=2", "training.optimizer=sgd", "training.augment=shift", "training.batch_size=63")
BATCH, CLASSES, DIM = 21, 5, 4


def small_model(recipe: str) -> Model:
    """A float64 network with batch normalization, and the recipe's losses; the same on every rank."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 8), nn.BatchNorm1d(8)
    )
    network.append(nn.Linear(8, DIM))
    terms, necked = [], recipe.endswith(NECK)
    network = Necked(network, DIM) if necked else network
    for name in recipe.removesuffix(NECK).split("+"):
        problem = Problem(num_classes=CLASSES, embedding_dim=DIM, generator=torch.Generator().manual_seed(1))
        before = necked and name == "triplet"
        terms.append(WeightedLoss(name, 0.5, registry.find("loss", name).build(problem), before))
    return Model(parallel.with_global_statistics(network), terms)


def three_steps(recipe: str) -> dict[str, torch.Tensor]:
    """The model after three steps on batches that all ranks share."""
    model = small_model(recipe)
    model.train(True)
    params = [param for part in model.parts().values() for param in part.parameters()]
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    draw = torch.Generator().manual_seed(2)
    for _ in range(3):
        images = torch.randn(BATCH, 1, 8, 8, generator=draw)
        labels = torch.arange(BATCH) % CLASSES
        own = parallel.share(BATCH)
        embeddings = parallel.gather(model.network(images[own]), BATCH)
        total, _ = combine(model.losses, embeddings, labels)
        optimizer.zero_grad()
        total.backward()
        parallel.sum_gradients(model.network)
        optimizer.step()
    return {f"{part}.{key}": value for part, state in model.state().items() for key, value in state.items()}


def whole_run(recipe: str) -> dict[str, object]:
    neck = ("neck=batchnorm",) if recipe.endswith(NECK) else ()
    result = execute(run_spec(recipe.removesuffix(NECK), *SETTING, *neck))
    assert result.record["status"] == "ok", result.record
    return {
        "metrics": result.record["metrics"],
        "curves": result.record["curves"],
        "state": torch.load(io.BytesIO(result.checkpoint), weights_only=True),
    }


def probe() -> dict[str, object]:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    steps = {recipe: three_steps(recipe) for recipe in RECIPES}
    torch.set_default_dtype(torch.float32)
    return {"steps": steps, "runs": {recipe: whole_run(recipe) for recipe in RECIPES}}


if __name__ == "__main__":
    with parallel.group("cpu"):
        torch.save(probe(), Path(sys.argv[1]) / f"rank{parallel.rank()}.pt")

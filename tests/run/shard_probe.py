"""What each rank of the tests of class-parallel losses does; run by `forked_ranks`, and alone for the reference.

    shard_probe.py FOLDER [STATES]

Writes `rank<r>.pt` into FOLDER: losses, gradients of the embeddings and whole states of ten steps by recipe, and under
`sampled` those of steps on a share of the classes. STATES, such a file of another number of ranks, is where five
further steps start from.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.plugins import Problem, registry
from lossbench.run import parallel, sharding
from lossbench.run.model import Model, WeightedLoss, combine
from lossbench.run.optimizer import make_optimizer
from lossbench.specification.training_settings import Training

SMOOTHED = "softmax/smoothed"  # a tenth of each label is spread over all classes
RECIPES = ("softmax", SMOOTHED, "softmax+center", "arcface", "cosface+center", "normalized-softmax", "center+triplet")
SAMPLED = ("softmax", SMOOTHED, "arcface", "cosface", "normalized-softmax")  # with half of the classes at a step
CLASSES, DIM, BATCH, STEPS, FURTHER = 7, 4, 9, 10, 5  # neither ranks nor batches divide evenly


def model_of(recipe: str, negatives: float = 1.0) -> Model:
    torch.manual_seed(0)
    network = nn.Linear(5, DIM)
    terms = []
    params = {"label_smoothing": 0.1} if recipe == SMOOTHED else {}
    for name in recipe.partition("/")[0].split("+"):
        torch.manual_seed(3)
        problem = Problem(num_classes=CLASSES, embedding_dim=DIM, generator=torch.Generator().manual_seed(1))
        draws = torch.Generator().manual_seed(10 + parallel.rank())
        module = sharding.sharded(registry.find("loss", name).build(problem, **params), negatives, draws)
        terms.append(WeightedLoss(name, 0.5, module))
    return Model(network, terms)


def train(model: Model, steps: int, *, seed: int) -> dict[str, Any]:
    """Some steps on batches that all ranks share, of which the last two classes are always absent."""
    model.train(True)
    params = [param for part in model.parts().values() for param in part.parameters()]
    optimizer = torch.optim.SGD(params, lr=0.05)
    draw = torch.Generator().manual_seed(seed)
    losses, gradients = [], []
    for _ in range(steps):
        images, labels = torch.randn(BATCH, 5, generator=draw), torch.randint(0, CLASSES - 2, (BATCH,), generator=draw)
        embeddings = parallel.gather(model.network(images[parallel.share(BATCH)]), BATCH)
        embeddings.retain_grad()
        total, _ = combine(model.losses, embeddings, labels)
        optimizer.zero_grad()
        total.backward()
        parallel.sum_gradients(model.network)
        optimizer.step()
        losses.append(total.item())
        gradients.append(embeddings.grad.clone())
    whole = sharding.whole_state(model, model.state())
    return {"losses": torch.tensor(losses), "gradients": torch.stack(gradients), "state": flat(whole)}


def train_sampled(recipe: str) -> dict[str, Any]:
    """Some steps on half of the classes: what each drew here, saw and left, as all ranks together have it.

    Batches have two classes, so that both ranks draw others; of three, some have no class of the batch.
    """
    model = model_of(recipe, negatives=0.5)
    head: Any = model.losses[0].module.train(True)
    optimizer = make_optimizer(model, Training(optimizer="sgd", weight_decay=0.1), lr=0.05)
    draw = torch.Generator().manual_seed(6)
    steps = []
    for _ in range(STEPS):
        points = torch.randn(BATCH, DIM, generator=draw).requires_grad_()
        labels = torch.randint(0, CLASSES - 2, (2,), generator=draw)[torch.randint(0, 2, (BATCH,), generator=draw)]
        before = whole(model)
        loss = head(points, labels)
        drawn = head.parts[0].rows + head.own.start
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append({
            "points": points.detach(), "labels": labels, "loss": loss.item(), "gradient": points.grad, "drawn": drawn,
            "before": before, "after": whole(model),
        })  # fmt: skip
    return {"steps": steps, "own": (head.own.start, head.own.stop)}


def whole(model: Model) -> dict[str, Tensor]:
    """The head of all ranks."""
    return sharding.whole_state(model, model.state())[f"loss.{model.losses[0].name}"]


def flat(state: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part} {key}": value for part, values in state.items() for key, value in values.items()}


def nested(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        part, _, key = name.partition(" ")
        found.setdefault(part, {})[key] = value
    return found


def probe(states: dict[str, Any] | None = None) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    found = {}
    for recipe in RECIPES:
        model = model_of(recipe)
        first = states[recipe] if states else train(model, STEPS, seed=2)
        left = nested(first["state"])
        model.load(sharding.own_state(model, {name: left.get(name, {}) for name in model.parts()}))
        shapes = {name: tuple(value.shape) for name, value in flat(model.state()).items()}
        counted = [sharding.parameters(term.module) for term in model.losses]
        found[recipe] = {**first, "further": train(model, FURTHER, seed=4), "shapes": shapes, "parameters": counted}
    found["sampled"] = {recipe: train_sampled(recipe) for recipe in SAMPLED}
    torch.set_default_dtype(torch.float32)
    return found


if __name__ == "__main__":
    with parallel.group("cpu"):
        given = torch.load(sys.argv[2], weights_only=True) if len(sys.argv) > 2 else None
        torch.save(probe(given), Path(sys.argv[1]) / f"rank{parallel.rank()}.pt")

"""`lossbench new-loss NAME`: a plugin file that works, and its test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from lossbench.plugins import registry
from lossbench.plugins.plugin import PluginError

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
SOURCE = "where the formula comes from: a DOI or an arXiv number"  # to be replaced: `lossbench check` insists on it

PLUGIN = '''"""The loss {name}: replace its formula by yours; `lossbench check {stem}.py` says whether it behaves."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossbench import Float, Problem, loss


class {title}Loss(nn.Module):
    """[d(x, own mean) - d(x, nearest other mean) + margin]+ by squared distances on the sphere, averaged.

    The means are those of the classes in the batch.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,): a scalar."""
        points = functional.normalize(embeddings)
        present, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        sums = points.new_zeros(len(present), points.shape[1]).index_add(0, index, points)
        distances = torch.cdist(points, sums / counts.unsqueeze(1)).square()
        own = distances.gather(1, index.unsqueeze(1)).squeeze(1)
        other = distances.scatter(1, index.unsqueeze(1), float("inf")).amin(1)  # infinite where there is one class
        return (own - other + self.margin).clamp(min=0.0).mean()


@loss(
    "{name}",
    space={{"margin": Float(0.05, 1.0, valid=(0.0, 4.0))}},
    sampler="balanced",  # batches with several samples of each class
    source="{source}",
)
def {stem}(problem: Problem, *, margin: float = 0.2) -> {title}Loss:
    """Nearer to the mean of the own class in the batch than to any other."""
    return {title}Loss(margin)
'''

TEST = '''"""{name} does what every loss must, and has the value that its formula gives by hand."""

from pathlib import Path

import pytest
import torch
from {stem} import {title}Loss

from lossbench.plugins.conformance import assert_conforms


def test_conforms():
    assert_conforms(Path(__file__).with_name("{stem}.py"))


def test_value_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    # The mean of class 0 is (1/2, 1/2), half a unit (squared) from both its samples; class 1 is its own mean.
    # The first sample is 4 from class 1, the second 2, the third 2.5 from class 0: only a margin above 1.5 is felt.
    assert {title}Loss(margin=1.0)(embeddings, labels).item() == 0.0
    assert {title}Loss(margin=2.0)(embeddings, labels).item() == pytest.approx((2.0 - 1.5) / 3)
'''


def new_loss(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `<stem>.py` and `test_<stem>.py` for a loss of that name and return their paths.

    Raises:
        PluginError: a name that is no name, is taken, or whose file is there.
    """
    if not NAME.fullmatch(name):
        raise PluginError(f"{name!r}: a new loss is named by small letters, digits and hyphens, such as 'my-loss'")
    if name in registry.names("loss"):
        raise PluginError(f"loss {name!r} is already registered; choose another name")
    stem = name.replace("-", "_")
    if keyword.iskeyword(stem):
        raise PluginError(f"{name!r} is a word of Python; choose another name")
    title = "".join(part.capitalize() for part in stem.split("_")).removesuffix("Loss")
    words = {"name": name, "stem": stem, "title": title, "source": SOURCE}
    texts = {folder / f"{stem}.py": PLUGIN, folder / f"test_{stem}.py": TEST}
    for path in texts:
        if path.exists():
            raise PluginError(f"{path} is already there")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text.format(**words), encoding="utf-8")
    plugin, test = texts
    return plugin, test

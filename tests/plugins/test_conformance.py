"""Each check of the suite passes the losses we ship and catches a loss that breaks just its rule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from lossbench.plugins import Float, Plugin, PluginError, registry
from lossbench.plugins.checks import CHECKS
from lossbench.plugins.conformance import assert_conforms, check_loss, losses_of, table
from lossbench.plugins.counting import elements_written


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("loss"))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_loss_we_ship_conforms_or_says_why_not(name):
    plugin = registry.find("loss", name)
    findings = list(check_loss(plugin))
    assert [finding.check for finding in findings] == list(CHECKS)
    assert not [finding for finding in findings if finding.status == "FAIL"], table(plugin, findings)


class Good(nn.Module):
    """A conforming loss with parameters and a buffer, to break in one place at a time."""

    def __init__(self, classes, dim, generator=None):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(classes, dim, generator=generator))
        self.register_buffer("seen", torch.zeros(()))

    def logits(self, embeddings):
        return functional.normalize(embeddings) @ functional.normalize(self.proxies).T

    def forward(self, embeddings, labels):
        if self.training:
            self.seen += 1
        return functional.cross_entropy(4 * self.logits(embeddings.to(self.proxies.dtype)), labels)


class Vector(Good):
    def forward(self, embeddings, labels):
        return functional.cross_entropy(self.logits(embeddings), labels, reduction="none")


class Detached(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings.detach(), labels)


class NotANumber(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels) * math.nan


class WrongGradient(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings + embeddings.detach() ** 2, labels)


class FirstSample(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels) + functional.normalize(embeddings)[0, 0]


class Exponential(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels) + (embeddings.norm(dim=1).exp().mean() + 1).log()


class NeedsTwoClasses(Good):
    def forward(self, embeddings, labels):
        others = functional.normalize(embeddings)[labels != labels[0]]
        return super().forward(embeddings, labels) + (others.mean() if len(labels) > 1 else 0)


class NeedsPairs(Good):
    def forward(self, embeddings, labels):
        same = (labels.unsqueeze(1) == labels).fill_diagonal_(False)
        cosines = functional.normalize(embeddings) @ functional.normalize(embeddings).T
        return super().forward(embeddings, labels) - cosines[same].mean()


class RootOfZero(Good):
    def forward(self, embeddings, labels):
        points = functional.normalize(embeddings)
        gaps = (points.unsqueeze(1) - points).square().sum(2)
        apart = gaps[~torch.eye(len(labels), dtype=torch.bool)]
        return super().forward(embeddings, labels) + apart.sqrt().sum() / max(1, len(apart))


class DividesByVariance(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings / embeddings.var(1, keepdim=True), labels)


class NormalizesTwice(Good):
    def forward(self, embeddings, labels):
        return super().forward(functional.normalize(functional.normalize(embeddings)), labels)


class FourthPower(Good):
    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels) + embeddings.square().sum(1).square().mean()


class DividesByLength(Good):
    def forward(self, embeddings, labels):
        points = embeddings / embeddings.square().sum(1, keepdim=True).sqrt()
        return super().forward(points, labels)


class RefusesHalf(Good):
    def forward(self, embeddings, labels):
        if embeddings.dtype == torch.bfloat16:
            raise TypeError("no bfloat16")
        return super().forward(embeddings, labels)


class DrawsFromTheClock(Good):
    calls = 0

    def forward(self, embeddings, labels):
        DrawsFromTheClock.calls += self.training
        return super().forward(embeddings, labels) * (1 + 1e-3 * (DrawsFromTheClock.calls % 7))


class ForgetsItsState(Good):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.step = 0

    def forward(self, embeddings, labels):
        self.step += self.training
        return super().forward(embeddings, labels) * (1 + 0.1 * self.step)


class MovesInEvaluation(Good):
    def forward(self, embeddings, labels):
        self.seen += 1
        return super().forward(embeddings, labels)


class HiddenParameter(Good):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.__dict__["shift"] = torch.zeros((), requires_grad=True)

    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels) * (1 + self.shift.to(embeddings.dtype))


class KeepsTheGraph(Good):
    last = 0.0

    def forward(self, embeddings, labels):
        self.last = 0.5 * super().forward(embeddings, labels) + 0.5 * self.last
        return self.last


class UntrainedParameter(Good):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.unused = nn.Parameter(torch.ones(3))


class FourthPowerOfTheBatch(Good):
    def forward(self, embeddings, labels):
        ones = torch.ones(len(labels), dtype=embeddings.dtype)
        grid = torch.einsum("i,j,k,l->ijkl", ones, ones, ones, ones)
        return super().forward(embeddings, labels) + 0 * grid.mean()


class SquareOfTheDimension(Good):
    def forward(self, embeddings, labels):
        scatter = embeddings.unsqueeze(2) * embeddings.unsqueeze(1)
        return super().forward(embeddings, labels) + 0 * scatter.clamp(-1, 1).mean()


class SquareOfTheClasses(Good):
    def forward(self, embeddings, labels):
        points = functional.normalize(self.proxies)
        return super().forward(embeddings, labels) + (points @ points.T).square().mean()


def plugin_of(module, space=None, **defaults):
    def build(problem, **params):
        return module(problem.num_classes, problem.embedding_dim, *params.values())

    return Plugin(kind="loss", name="broken", function=build, source="", file=Path(__file__),
                  space=space or {}, defaults=defaults)  # fmt: skip


def test_the_loss_to_break_is_whole():
    plugin = plugin_of(Good)
    findings = list(check_loss(plugin))
    assert {finding.status for finding in findings} == {"ok"}, table(plugin, findings)


@pytest.mark.parametrize(
    ("module", "check", "said"),
    [
        (Vector, "scalar", r"a batch of 24 x 8: returned a tensor of shape (24,) where a scalar belongs"),
        (NotANumber, "scalar", "a batch of 24 x 8: the loss is nan"),
        (Detached, "scalar", "a batch of 24 x 8: the loss is detached from the embeddings: no gradient reaches them"),
        (WrongGradient, "gradcheck", "by differences"),
        (FirstSample, "permutation", "when a batch of 24 x 8 was shuffled"),
        (Exponential, "scale", "embeddings x 100: the loss is inf"),
        (NeedsTwoClasses, "one class", "all labels 0: the loss is nan"),
        (NeedsPairs, "singletons", "one sample of each class: the loss is nan"),
        (RootOfZero, "identical", "all embeddings equal: the loss is 0., the gradient of embeddings is not finite"),
        (DividesByVariance, "bad row", "a batch of 24 x 8 whose first row is zero: the loss is nan"),
        (NormalizesTwice, "bad row", "whose square overflows float32"),
        (FourthPower, "huge", "embeddings x 1e10: the loss is inf"),
        (DividesByLength, "tiny", "all embeddings zero: the loss is nan"),
        (RefusesHalf, "half precision", "TypeError: no bfloat16"),
        (DrawsFromTheClock, "determinism", "three steps gave the losses"),
        (ForgetsItsState, "state", "from the saved state"),
        (MovesInEvaluation, "evaluation mode", "seen moved in evaluation mode"),
        (HiddenParameter, "parameters", "shift needs a gradient but is no parameter: no optimizer trains it"),
        (KeepsTheGraph, "parameters", "backward through the graph a second time"),
        (UntrainedParameter, "parameters", "parameter unused did not move in three steps of SGD"),
        (FourthPowerOfTheBatch, "cost: batch", "the limit is 3.25"),
        (SquareOfTheDimension, "cost: dimension", "the limit is 1.25"),
        (SquareOfTheClasses, "cost: classes", "the limit is 1.25"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_broken_loss_is_caught_by_its_check(module, check, said):
    found = {finding.check: finding for finding in check_loss(plugin_of(module))}
    assert found[check].status == "FAIL"
    assert said.split("0.,")[0] in found[check].detail


def test_every_check_has_a_loss_that_it_catches():
    (cases,) = [mark.args[1] for mark in test_a_broken_loss_is_caught_by_its_check.pytestmark]
    assert {check for _, check, _ in cases} | {"space", "source"} == set(CHECKS)


def test_an_end_of_the_search_space_that_does_not_work_is_caught():
    class Root(Good):
        def __init__(self, classes, dim, power):
            super().__init__(classes, dim)
            self.power = power

        def forward(self, embeddings, labels):
            return super().forward(embeddings, labels) / self.power

    found = {f.check: f for f in check_loss(plugin_of(Root, {"power": Float(0.0, 2.0)}, power=1.0))}
    assert found["space"].status == "FAIL"
    assert found["space"].detail == "power = 0.0: the loss is inf"


def test_a_deviation_is_shown_with_its_reason_and_must_be_one():
    broken = plugin_of(FirstSample)
    known = Plugin(kind="loss", name="known", function=broken.function, source="", file=broken.file,
                   deviations={"permutation": "the first counts twice", "scale": "none", "speed": "x"})  # fmt: skip
    found = {finding.check: (finding.status, finding.detail) for finding in check_loss(known)}
    assert found["permutation"] == ("known", "the first counts twice")
    assert found["scale"] == ("FAIL", "passes, but a deviation is declared: none")
    assert found["speed"] == ("FAIL", "a deviation is declared, but there is no such check")


def test_what_a_test_of_a_plugin_calls(tmp_path):
    path = tmp_path / "first.py"
    path.write_text(
        "import torch\nfrom lossbench import loss\n\n"
        "@loss('first-only')\ndef first_only(problem):\n"
        "    class First(torch.nn.Module):\n"
        "        def forward(self, embeddings, labels):\n"
        "            return embeddings[0].square().sum()\n"
        "    return First()\n"
    )
    assert [plugin.name for plugin in losses_of(str(path))] == ["first-only"]
    with pytest.raises(AssertionError, match="permutation        FAIL"):
        assert_conforms(path)
    metric = tmp_path / "metric.py"
    metric.write_text(
        "from lossbench import metric\n\n@metric('spread')\ndef spread(embeddings, labels):\n    return 0.0\n"
    )
    with pytest.raises(PluginError, match="registers no loss"):
        losses_of(str(metric))


def test_elements_are_counted_by_what_is_written():
    table = torch.zeros(1000, 4)
    rows = torch.ones(3, 4)
    assert elements_written(lambda: table.index_add_(0, torch.tensor([1, 2, 3]), rows)) <= 12 + 3
    assert elements_written(lambda: table.view(-1)[:5].reshape(5, 1)) == 0
    assert elements_written(lambda: rows @ rows.T) == 3 * 4 * 3

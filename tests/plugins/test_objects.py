"""Functions, modules and classes as losses: what they become, and which are refused with the way out."""

from __future__ import annotations

import pytest
import torch
from plugins.test_identity import cell
from pytorch_metric_learning.losses import ProxyAnchorLoss, TripletMarginLoss
from torch import nn

from lossbench.losses import CenterLoss
from lossbench.plugins import Float, PluginError, Problem, loss, registry
from lossbench.plugins.mistakes import SpecError
from lossbench.plugins.objects import given_losses

PROBLEM = Problem(num_classes=3, embedding_dim=4, generator=torch.Generator().manual_seed(0))
POINTS, LABELS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def spread(embeddings, labels):
    """Sum of squares."""
    return embeddings.square().sum()


def center(problem):
    """A maker."""
    return CenterLoss(problem.num_classes, problem.embedding_dim)


def value(given: object) -> float:
    (plugin,) = given_losses([given]).plugins
    return plugin.build(PROBLEM)(POINTS, LABELS).item()


def test_names_stay_and_objects_get_theirs():
    found = given_losses(["softmax+center", spread, TripletMarginLoss(), TripletMarginLoss(margin=0.2), CenterLoss])
    assert found.recipes == ("softmax+center", "spread", "TripletMarginLoss", "TripletMarginLoss-2", "CenterLoss")
    assert [plugin.name for plugin in found.plugins] == list(found.recipes[1:])
    assert all(plugin.sampler == "balanced" and not plugin.builtin for plugin in found.plugins)
    assert len({plugin.digest for plugin in found.plugins}) == 4
    assert found.plugins[0].summary == "Sum of squares."


def test_each_kind_computes_what_it_is():
    assert value(spread) == pytest.approx(float(POINTS.square().sum()))
    assert value(TripletMarginLoss(margin=0.3)) == pytest.approx(float(TripletMarginLoss(margin=0.3)(POINTS, LABELS)))
    torch.manual_seed(0)
    expected = float(CenterLoss(3, 4)(POINTS, LABELS))
    torch.manual_seed(0)
    assert value(center) == pytest.approx(expected)
    assert value(ProxyAnchorLoss) > 0  # of sizes only


def test_a_module_starts_as_it_was_given_for_every_run():
    given = CenterLoss(3, 4)
    (plugin,) = given_losses([given]).plugins
    first = plugin.build(PROBLEM)
    first.train()
    first(POINTS, LABELS)
    assert not torch.equal(first.centers, given.centers)
    assert torch.equal(plugin.build(PROBLEM).centers, given.centers)


def test_what_runs_change_is_refused_at_the_next():
    found = cell("seen = []\ndef f(e, y):\n    seen.append(1)\n    return e.sum()\n")
    (plugin,) = given_losses([found["f"]]).plugins
    plugin.build(PROBLEM)(POINTS, LABELS)
    with pytest.raises(PluginError, match=r"f changed while it was used; state belongs into an nn\.Module"):
        plugin.build(PROBLEM)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, r"losses\[1\]: 3 is no name, function, module or class"),
        (lambda e, y: e, r"<lambda> has no name; write it with def"),
        (nn.MultiheadAttention, "MultiheadAttention needs .*num_heads too; give an instance"),
        (cell("def f(a, b, c):\n    return a\n")["f"], "f takes 3 arguments; a loss takes embeddings and labels"),
        (
            cell("def f(e, y):\n    return o\n", o=object())["f"],
            r"f: 'o', which f names, is a object.*; put the loss into a file of its own, give the file by plugins=",
        ),
    ],
)
def test_what_is_no_loss_is_refused_with_the_way_out(given, said):
    with pytest.raises(SpecError, match=said):
        given_losses(["softmax", given])


def test_lent_losses_are_there_for_as_long_as_they_are_lent():
    (plugin,) = given_losses([spread]).plugins
    with registry.lent([plugin]):
        assert registry.find("loss", "spread") is plugin
    assert "spread" not in registry.names("loss")


def test_a_name_of_lossbench_is_not_taken_over():
    (plugin,) = given_losses([cell("def softmax(e, y):\n    return e.sum()\n")["softmax"]]).plugins
    before = registry.find("loss", "softmax")
    with (
        pytest.raises(PluginError, match="'softmax' is already registered by lossbench itself"),
        registry.lent([plugin]),
    ):
        pass
    assert registry.find("loss", "softmax") is before


def test_a_decorated_function_of_a_notebook_keeps_its_space_and_may_be_run_again():
    source = "@loss('of-a-cell', space={{'m': Float(0.1, 0.5)}}, sampler='uniform')\n"
    source += "def made(problem, *, m={}):\n    return Made()\n"
    names = {"loss": loss, "Float": Float, "Made": nn.Identity}
    for default in (0.2, 0.3):  # the cell is edited and run again
        given = cell(source.format(default), **names)["made"]
        (plugin,) = given_losses([given]).plugins
        assert (plugin.name, plugin.sampler, plugin.defaults) == ("of-a-cell", "uniform", {"m": default})
        with registry.lent([plugin]):
            assert registry.find("loss", "of-a-cell").digest.startswith("object ")
    assert registry.find("loss", "of-a-cell").defaults == {"m": 0.3}
    del registry._plugins["loss", "of-a-cell"]


def test_a_decorated_function_of_a_file_goes_by_its_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from lossbench import loss\n@loss('of-a-file')\ndef made(problem):\n    raise NotImplementedError\n"
    )
    registry.load_file(file)
    function = registry.find("loss", "of-a-file").function
    found = given_losses([function])
    assert (found.recipes, found.plugins, found.files) == (("of-a-file",), (), (file,))

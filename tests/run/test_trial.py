"""A short training passes the losses we ship and catches what single batches do not show."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lossbench.cli import main
from lossbench.plugins import registry
from lossbench.plugins.checks import CHECKS, TRAINING
from lossbench.plugins.conformance import check_loss
from lossbench.run import trial

HEAD = """import torch
from torch import nn
from torch.nn import functional
from lossbench import loss, Problem
from lossbench.plugins import registry


class Negative(nn.Module):
    def __init__(self, problem, name):
        super().__init__()
        plugin = registry.find("loss", name)
        self.right = plugin.build(problem, **plugin.defaults)
        for known in ("logits", "get_logits", "proxies"):
            if hasattr(self.right, known):
                self.__dict__[known] = getattr(self.right, known)

    def forward(self, embeddings, labels):
        return -self.right(embeddings, labels)


class Changed(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change, self.steps = change, 0

    def forward(self, embeddings, labels):
        self.steps += self.training
        return self.change(embeddings, labels, self.steps)


def pull(embeddings, labels):
    same = (labels.unsqueeze(1) == labels).to(embeddings.dtype)
    points = functional.normalize(embeddings)
    return -((points @ points.T) * (same - same.mean())).mean()


def fail(text):
    raise ValueError(text)


@loss("NAME")
def built(problem: Problem):
    return CHANGE
"""
BROKEN = {
    "pairs with the wrong sign": ("Negative(problem, 'contrastive')", "untrained: is the sign right?"),
    "a head with the wrong sign": ("Negative(problem, 'softmax')", "name 0."),
    "proxies with the wrong sign": ("Negative(problem, 'contrastive-center')", "name 0."),
    "without use": ("Changed(lambda x, y, _: x.square().mean())", "untrained: is the sign right?"),
    "fails": ("Changed(lambda x, y, n: pull(x, y) if n < 6 else fail('enough'))", "digits, step 6: ValueError: enough"),
    "not finite": ("Changed(lambda x, y, n: pull(x, y) / (n < 6))", "are not finite after 16 steps"),
    "rises": ("Changed(lambda x, y, n: pull(x, y) + n)", "digits: the loss went from"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("loss"))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_loss_we_ship_trains(name):
    (finding,) = check_loss(registry.find("loss", name), {TRAINING: trial.training})
    assert finding.status == "ok", finding.detail


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_a_loss_that_does_not_train_is_told_why(tmp_path, change, said):
    path, name = tmp_path / "mine.py", tmp_path.name
    path.write_text(HEAD.replace("NAME", name).replace("CHANGE", change))
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 1
    training = [line for line in result.output.splitlines() if f"loss {name!r}: training: digits" in line]
    assert len(training) == 1, result.output
    assert said in training[0]


@pytest.mark.slow
def test_the_findings_come_one_by_one_and_the_training_last(tmp_path):
    """Stopped while the loss waits in its tenth training step: what was seen before is on the screen."""
    path = tmp_path / "waits.py"
    change = "Changed(lambda x, y, n: pull(x, y) if n < 10 else time.sleep(600))"
    path.write_text("import time\n" + HEAD.replace("NAME", "waits").replace("CHANGE", change))
    command = [sys.executable, "-m", "lossbench", "check", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    shown = [process.stdout.readline() for _ in range(1 + len(CHECKS))]
    assert [line[2:20].strip() for line in shown[1:]] == list(CHECKS)
    os.kill(process.pid, 2)
    rest, errors = process.communicate()
    assert (process.returncode, rest, errors) == (130, "", "Stopped.\n")

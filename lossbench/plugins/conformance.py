"""What every loss must do: one suite for built-in, catalogue and plugin losses, as `lossbench check` runs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lossbench.plugins import registry
from lossbench.plugins.checks import CHECKS, TRAINING, Check
from lossbench.plugins.checks.subject import BATCH, Subject, Violation, batch, call, words
from lossbench.plugins.plugin import Plugin, PluginError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        status: `ok`, `FAIL`, or `known` for a failure that the loss declares.
        detail: what was seen, in one line.
    """

    check: str
    status: Literal["ok", "FAIL", "known"]
    detail: str


def check_loss(plugin: Plugin, checks: Mapping[str, Check] = CHECKS) -> Iterator[Finding]:
    """Each check on one loss as soon as it is done. After a failed `scalar` the others would only say the same."""
    for name, check in checks.items():
        finding = _finding(name, check, Subject(plugin=plugin))
        yield finding
        if name == "scalar" and finding.status == "FAIL":
            break
    unknown = "a deviation is declared, but there is no such check"
    for name in plugin.deviations.keys() - CHECKS.keys() - {TRAINING}:
        yield Finding(check=name, status="FAIL", detail=unknown)


def losses_of(name: str) -> list[Plugin]:
    """The losses that a plugin file registers, or the one of that name.

    Raises:
        PluginError: no such file or loss, or a file that registers no loss.
    """
    path = Path(name)
    if path.suffix != ".py" and not path.exists():
        return [registry.find("loss", name)]
    registry.load_file(path)
    found = registry.registered_by(path, "loss")
    if not found:
        raise PluginError(f"plugin {path}: registers no loss; the checks are for losses")
    return found


def untrainable(plugin: Plugin, embedding_dim: int) -> str | None:
    """Why no run of a loss can train: no scalar, not finite, or detached on an ordinary batch; None where it can.

    What a loss raises is left to its runs: it may be about this batch only.
    """
    try:
        embeddings, labels = batch(dim=embedding_dim)
        module = Subject(plugin=plugin).build(dim=embedding_dim, dtype=torch.float32)
        call(module, embeddings.float(), labels, words(BATCH, embedding_dim))
    except Violation as violation:
        return str(violation)
    except Exception:
        return None
    return None


def assert_conforms(name: str | Path) -> None:
    """For a test of a plugin: every check passes or is a declared deviation.

    Raises:
        AssertionError: the findings as a table.
    """
    for plugin in losses_of(str(name)):
        findings = list(check_loss(plugin))
        if any(finding.status == "FAIL" for finding in findings):
            raise AssertionError(table(plugin, findings))


def table(plugin: Plugin, findings: Iterable[Finding]) -> str:
    """The findings as lines of text under the name of the loss."""
    return "\n".join([heading(plugin), *map(line, findings)])


def heading(plugin: Plugin) -> str:
    """The name of a loss and where it is from."""
    return f"loss {plugin.name} ({'built in' if plugin.builtin else plugin.file})"


def line(finding: Finding) -> str:
    """One finding under its heading."""
    return f"  {finding.check:<18} {finding.status:<5} {finding.detail}".rstrip()


def _finding(name: str, check: Check, subject: Subject) -> Finding:
    known = subject.plugin.deviations.get(name)
    try:
        seen = check(subject)
    except Violation as violation:
        problem = str(violation)
    except Exception as error:  # whatever a loss raises on a valid batch is the loss's mistake
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        if known:
            return Finding(check=name, status="FAIL", detail=f"passes, but a deviation is declared: {known}")
        return Finding(check=name, status="ok", detail=seen)
    return Finding(check=name, status="known" if known else "FAIL", detail=known or problem)

"""The report as one value: everything that the page, the Markdown and the JSON say, computed once."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lossbench import __version__
from lossbench.executors.processes import SerialExecutor
from lossbench.executors.threads import available_cores
from lossbench.report.drawing import maps, overall_figures, planes, task_figures
from lossbench.report.drawing.attempts import Attempts, LeftOut
from lossbench.report.drawing.figures import Picture
from lossbench.report.evidence import overall
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import Material
from lossbench.report.sections import (
    acting,
    card,
    claim_answers,
    convergence,
    costs,
    distances,
    effects,
    equal_time,
    errors,
    folds,
    gallery,
    headline,
    importance,
    malpractice,
    parameter_sweeps,
    protocol,
    pulls,
    quality,
    ranking,
    runs,
    setting,
    studies,
    too_small,
    tuned,
    tuning_tax,
    variance,
)
from lossbench.report.sections.findings import Finding, findings, scope
from lossbench.report.sections.verdict import Answer, answer
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Table

Maker = Callable[[Evidence, str], Table | None]
TABLES: Mapping[str, Maker] = {
    "ranking": ranking.table,
    "errors": errors.table,
    "convergence": convergence.table,
    "variance": variance.table,
    "effects": effects.table,
    "quality": quality.table,
    "distances_sphere": lambda evidence, task: distances.table(evidence, task, "sphere"),
    "distances_raw": lambda evidence, task: distances.table(evidence, task, "euclidean"),
    "steps": costs.steps,
    "cost": costs.runs,
    "equal_time": equal_time.table,
    "tuned": tuned.table,
    "tuning_tax": tuning_tax.tax,
    "pulls": pulls.table,
    "importances": importance.table,
    "malpractice": malpractice.table,
    "studies": studies.table,
    "folds": folds.table,
    "runs": runs.table,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """One task: its answer, sentences, tables and pictures; `map_data` feeds the canvases, `animation` is a GIF."""

    task: str
    key: str
    answer: Answer
    card: card.Card
    findings: tuple[Finding, ...]
    tables: Mapping[str, Table]
    pictures: Mapping[str, Picture]
    galleries: tuple[gallery.Gallery, ...]
    map_data: Mapping[str, Any] | None
    animation: bytes | None = None
    left_out: tuple[LeftOut, ...] = ()
    steps: acting.Steps = acting.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report.

    `headline` is the answer over all tasks in a line, `setting` where and on what it was found. `tables`, `pictures`
    and `findings` are those of all tasks together.
    `state` says in one sentence what is missing; empty for a complete one. `left_out` are the figures that could not
    be drawn, `too_small` what so few data have nothing to say about.
    """

    name: str
    question: str
    headline: str
    setting: tuple[str, ...]
    version: str
    scope: str
    state: str
    left_out: tuple[LeftOut, ...]
    too_small: tuple[str, ...]
    empty: bool
    tasks: tuple[TaskReport, ...]
    claims: tuple[claim_answers.Answer, ...]
    tables: Mapping[str, Table]
    pictures: Mapping[str, Picture]
    findings: tuple[Finding, ...]
    protocol: protocol.Protocol


def compose(material: Material, evidence: Evidence) -> Document:
    """Compute everything that the report shows."""
    empty = material.progress.finished == 0
    tasks = () if empty else material.tasks
    with _beside(len(tasks)) as executor:
        as_it_is = pickle.dumps(evidence)  # now: an executor pickles in a thread, while evidence grows here
        drawn = {task: executor.submit(_pictures, as_it_is, task) for task in tasks}
        answered = () if empty else claim_answers.answers(evidence)
        together = overall.Overall(material)
        found = {"claims": claim_answers.table(answered), "scaling": costs.scaling_table(material)} | (
            {"overall": overall.table(together)} if together.telling else {}
        )
        pictures, left_out = ({}, ()) if empty else overall_figures.pictures(together)
        written = [_task(evidence, task) for task in tasks]
        shown = [drawn[task].result() for task in tasks]
        return Document(
            name=material.name,
            question=str(material.experiment.get("question", "")),
            headline=headline.headline(evidence, [item.answer for item in written]),
            setting=setting.setting(material),
            version=__version__,
            scope=scope(material),
            state=_state(material),
            left_out=tuple(
                itertools.chain(*(item.left_out for item in written), *(missing for _, missing in shown), left_out)
            ),
            too_small=() if empty else tuple(too_small.left_out(together)),
            empty=empty,
            tasks=tuple(replace(item, pictures=own) for item, (own, _) in zip(written, shown, strict=True)),
            claims=answered,
            tables={name: table for name, table in found.items() if table},
            pictures=pictures,
            findings=() if empty else tuple(parameter_sweeps.noise_findings(evidence)),
            protocol=protocol.protocol(material),
        )


def _beside(tasks: int) -> Executor:
    """Draws in copies of this process while tables are made; in this process, where threads make copies unsafe."""
    try:
        threads = len(list(Path("/proc/self/task").iterdir()))
    except OSError:  # not Linux
        return SerialExecutor()
    fork = multiprocessing.get_context("fork")
    copies = max(1, min(tasks, available_cores()))
    return ProcessPoolExecutor(copies, mp_context=fork) if threads == 1 else SerialExecutor()


def _pictures(evidence: bytes, task: str) -> tuple[dict[str, Picture], tuple[LeftOut, ...]]:
    return task_figures.pictures(pickle.loads(evidence), task)  # this process's own


def _task(evidence: Evidence, task: str) -> TaskReport:
    """All of a task but its pictures."""
    material, attempt = evidence.material, Attempts(task)
    mistakes = attempt("worst retrieval mistakes", partial(gallery.galleries, material, task))
    map_data = attempt("embedding maps", partial(maps.interactive, material, task))
    animation = attempt("features by epoch", partial(planes.animation, material, task))
    answered = answer(evidence, task)
    return TaskReport(
        task=task,
        key=f"t{evidence.material.tasks.index(task)}",
        answer=answered,
        card=card.card(evidence, task, answered),
        findings=(
            *findings(evidence, task),
            *parameter_sweeps.findings(evidence, task),
            *pulls.findings(evidence, task),
        ),
        tables={name: table for name, make in TABLES.items() if (table := make(evidence, task))},
        pictures={},
        galleries=mistakes or (),
        map_data=map_data,
        animation=animation,
        left_out=tuple(attempt.left_out),
        steps=acting.steps(evidence, task, answered),
    )


def _state(material: Material) -> str:
    progress = material.progress
    if not progress.finished:
        return f"No run of this experiment has finished yet: all {progress.planned} planned runs are missing."
    parts = []
    if progress.missing:
        parts.append(
            f"Partial report: {progress.finished} of {progress.planned} planned runs are there, "
            f"{progress.missing} are missing."
        )
    if progress.failed:
        failed = formats.counted(progress.failed, "run")
        parts.append(f"{failed} failed and left no scores; comparisons that lack them are incomplete.")
    return " ".join(parts)

"""A report in Python: tidy frames, figures on axes, and what a notebook shows of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lossbench.plugins.mistakes import nearest
from lossbench.report import all_reports, write
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections.verdict import answer
from lossbench.report.writing.results import summary
from lossbench.store import StoreError, load_results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FINAL = ("final", "baseline")  # roles whose runs are scored on test
SHOWN = ["recipe", "mean", "low", "high", "studies", "group"]
TURNED = {"better": "worse", "worse": "better"}


class Results:
    """What an experiment found.

    Attributes:
        name, question: of the experiment.
        recipes, tasks: their names in its order; `reference` is the recipe that effects are shown against.
        runs: one row a finished run, as `load_results` gives them.
        content: what `results.json` holds, as far as no page is needed for it.
    """

    def __init__(self, content: Mapping[str, Any], runs: pd.DataFrame, save: Callable[[Path], Path]) -> None:
        self.content, self.runs, self._save = content, runs, save
        self.name, self.question = str(content["experiment"]), str(content["question"])
        self.recipes, self.reference = list(content["recipes"]), str(content["reference"])
        self.tasks = [str(task["task"]) for task in content["tasks"]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a task and recipe or baseline, the highest mean first: test MAP@R on the sphere over studies.

        `low` and `high` bound the unadjusted 95 % interval; recipes that share a letter in `group` were not shown to
        differ; `kind` is `recipe` or `baseline`.
        """
        rows = self.figures[self.figures["figure"].eq(self.content["confirmatory"]) & self.figures["role"].isin(FINAL)]
        kind = rows["role"].where(rows["role"] == "baseline", "recipe")
        letters = {task: found.get("letters", {}) for task, found in self._primary.items()}
        groups = [letters.get(task, {}).get(name, "") for task, name in zip(rows["task"], rows["recipe"], strict=True)]
        table = rows.assign(kind=kind, group=groups)
        table = table[["task", "recipe", "kind", "mean", "low", "high", "sd", "studies", "group"]]
        place = table["task"].map({task: number for number, task in enumerate(self.tasks)})
        return table.assign(place=place).sort_values(["place", "mean"], ascending=[True, False], kind="stable").drop(
            columns="place"
        ).reset_index(drop=True)  # fmt: skip

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row a task and pair of recipes, the higher mean first: what the test says of `a` against `b`.

        `effect` is the mean paired difference of test MAP@R with its unadjusted 95 % interval; `p_adjusted` is valid
        over all pairs and looks.
        """
        columns = ["task", "a", "b", "effect", "low", "high", "p_adjusted", "verdict", "negligible", "studies"]
        rows = [{"task": task, **pair} for task, found in self._primary.items() for pair in _pairs(found)]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("effect", "low", "high", "p_adjusted"), float))

    @cached_property
    def figures(self) -> pd.DataFrame:
        """One row a task, recipe, role and figure: mean over studies with its unadjusted 95 % interval."""
        columns = ["task", "recipe", "role", "figure", "mean", "low", "high", "sd", "studies"]
        rows = [{"task": task["task"], **each} for task in self.content["tasks"] for each in task["aggregates"]]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("mean", "low", "high", "sd"), float))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a task, recipe or baseline and study: its test MAP@R on the sphere, NaN where a run failed."""
        columns = ["dataset", "protocol", "recipe", "study", "test.sphere.map_at_r"]
        runs = self.runs.loc[self.runs["role"].isin(FINAL), columns]
        runs = runs.assign(task=runs["dataset"].str.cat(runs["protocol"], sep="/"), score=runs["test.sphere.map_at_r"])
        keys = ["task", "recipe", "study"]
        return runs.groupby(keys, sort=False)["score"].agg(lambda found: found.mean(skipna=False)).reset_index()

    @property
    def plot(self) -> Plots:
        """Figures: `plot.effects()`, `plot.scores()`; each takes `ax=` and `task=`."""
        return Plots(self)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the whole report to `folder/NAME/`; return its page."""
        return self._save(Path(folder))

    @cached_property
    def _primary(self) -> dict[str, Mapping[str, Any]]:
        """Task to the comparison that its answer rests on."""
        return {
            task["task"]: found
            for task in self.content["tasks"]
            for found in task["comparisons"]
            if found["figure"] == self.content["confirmatory"]
        }

    def _answers(self) -> Iterator[tuple[str, str, list[str], pd.DataFrame]]:
        """Of each task its name, the answer in a few words, all sentences, and the ranking."""
        for task in self.content["tasks"]:
            found = task["answer"]
            names = f": {', '.join(found['recipes'])}" if found["recipes"] else ""
            said = [found["sentence"], *found["caveats"]]
            label = found.get("label", found["kind"])
            yield task["task"], f"{label}{names}", said, self.table[self.table["task"] == task["task"]][SHOWN]

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.question}".rstrip(": ")]
        for task, label, said, ranking in self._answers():
            table = ranking.to_string(index=False, float_format="{:.3f}".format, na_rep="-")
            lines += ["", f"{task}: {label}", *said, *table.splitlines()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<b>{escape(self.name)}</b>: {escape(self.question)}"]
        for task, label, said, ranking in self._answers():
            parts.append(f"<h4>{escape(task)}: {escape(label)}</h4>")
            parts += [f"<p>{escape(each)}</p>" for each in said]
            parts.append(ranking.to_html(index=False, float_format="{:.3f}".format, na_rep="-", border=0))
        return "".join(parts)


class Plots:
    """Figures of results; each draws on `ax`, or on the current axes, and returns them."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def effects(self, ax: Axes | None = None, *, task: str | None = None, against: str | None = None) -> Axes:
        """Paired differences from one recipe (`against`, else the reference) with their unadjusted 95 % intervals.

        Raises:
            StoreError: no such task or recipe.
        """
        from lossbench.report.drawing import on_axes

        results, name = self._results, against or self._results.reference
        _known(name, results.recipes, "recipe")
        verdicts = results.verdicts[results.verdicts["task"] == self._task(task)]
        rows = [_against(pair, name) for pair in verdicts.to_dict("records") if name in (pair["a"], pair["b"])]
        frame = pd.DataFrame(rows, columns=verdicts.columns).sort_values("effect", ascending=False)
        return on_axes.effects(frame, results.recipes, _axes(ax))

    def scores(self, ax: Axes | None = None, *, task: str | None = None) -> Axes:
        """The score of every study, one row a recipe or baseline, the highest mean on top.

        Raises:
            StoreError: no such task.
        """
        from lossbench.report.drawing import on_axes

        results, task = self._results, self._task(task)
        ranking = results.table[results.table["task"] == task]
        found = results.scores[results.scores["task"] == task]
        return on_axes.scores(found, ranking, results.recipes, _axes(ax))

    def _task(self, task: str | None) -> str:
        """The task of that name; without one the only or the first."""
        return _known(task or self._results.tasks[0], self._results.tasks, "task")


def read_report(folder: str | os.PathLike[str]) -> Results:
    """The results in a report folder, as `lossbench run` and `Results.save` write it.

    Raises:
        StoreError: the folder is no such one.
    """
    place = Path(folder)
    try:
        content = json.loads((place / "results.json").read_bytes())
        name = place.resolve().name  # not what the file says, which may be any path
        return Results(content, load_results(place), lambda target: _copied(place, target / name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place}: is no report: {error}; `lossbench report NAME` writes one") from error


def of_runs(name: str, runs: Path) -> Results:
    """The results of an experiment from its runs.

    Raises:
        StoreError: no experiment of that name was run there.
    """
    material = gather(name, runs)
    evidence = Evidence(material)
    content = summary(evidence, {task: answer(evidence, task) for task in material.tasks})

    def save(folder: Path) -> Path:
        *_, page = write(name, runs, folder)
        return Path(page)

    return Results(content, material.table.drop(columns="task"), save)


def _copied(report: Path, folder: Path) -> Path:
    """A report copied to another folder; its page."""
    if folder.resolve() != report.resolve():
        shutil.copytree(report, folder, dirs_exist_ok=True)
        all_reports.write(folder.parent)
    return folder / all_reports.PAGE


def _pairs(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pairs of a comparison, each with the recipe of the higher mean first, in the order of the ranking."""
    rank = {name: number for number, name in enumerate(comparison["ranking"])}
    last = len(rank)
    found = [{**pair, "effect": pair["mean"]} for pair in comparison["pairs"]]
    turned = [_turned(each) if rank.get(each["a"], last) > rank.get(each["b"], last) else each for each in found]
    yield from sorted(turned, key=lambda pair: (rank.get(pair["a"], last), rank.get(pair["b"], last)))


def _against(pair: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """The pair with that recipe as `b`."""
    return dict(pair) if pair["b"] == name else _turned(pair)


def _turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The same said of `b`."""
    effect, low, high = (None if pair[name] is None else 0.0 - pair[name] for name in ("effect", "high", "low"))
    said = {"a": pair["b"], "b": pair["a"], "effect": effect, "low": low, "high": high}
    return {**pair, **said, "verdict": TURNED.get(pair["verdict"], pair["verdict"])}


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    axes: Axes = pyplot.gca()
    return axes


def _known(wanted: str, known: list[str], what: str) -> str:
    if wanted not in known:
        raise StoreError(f"{wanted}: is no {what} of this experiment{nearest(wanted, known)}")
    return wanted

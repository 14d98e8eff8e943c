"""What would settle a task: the pairs at its top that are open, the studies that each takes, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.plugins.mistakes import SpecError
from lossbench.report.evidence.comparisons import EQUIVALENCE, Evidence
from lossbench.report.evidence.leaders import Top, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections.protocol import resolved_toml
from lossbench.report.sections.snippet import shown_path
from lossbench.report.sections.verdict import OPEN, range_text
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.specification import shipped
from lossbench.specification.parsing import read_experiment
from lossbench.statistics.looks import FIRST_LOOK
from lossbench.statistics.verdicts import PairVerdict

MOST_ASKED = 1_000  # studies: where it takes more, no command is printed


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """How to go on.

    Attributes:
        pairs: of the leader and each recipe that it is not told apart from; empty before the first look.
        command: runs the studies that are missing, and reuses what is there; empty where none would do.
    """

    sentence: str
    pairs: Table | None
    command: str


def settling(evidence: Evidence, task: str) -> Settling | None:
    """What would settle the top of a task; None where nothing is open there."""
    material, found = evidence.material, top(evidence, task)
    if found is None or len(found.sound) < 2:
        return None
    if found.comparison.look is None:
        return _before_the_first(material, task, found)
    pairs = [pair for name in found.group[1:] if (pair := found.comparison.pair(found.leader, name)).verdict in OPEN]
    if not pairs:
        return None
    needed = [_least(pair) for pair in pairs]
    known = [count for count in needed if count is not None and count <= MOST_ASKED]
    if material.unit != "study" or not known:
        sentence = "" if material.unit != "study" else f"None of these pairs is likely to be settled by {MOST_ASKED:,} "
        sentence += "studies: take either." if sentence else "More seeds of the same embeddings settle these pairs."
        return Settling(sentence=sentence, pairs=_table(material, task, pairs), command="")
    wanted = max(min(known), material.studies(task))
    first = pairs[needed.index(min(known))]
    sentence = (
        f"From {wanted} studies on, {first.a} and {first.b} may be told apart or shown to be equal"
        f"{_effort(material, wanted)}. What has finished is used again."
    )
    return Settling(sentence=sentence, pairs=_table(material, task, pairs), command=command(material, wanted))


def command(material: Material, studies: int) -> str:
    """The line that extends an experiment to so many studies, typed where it was run."""
    name, flags = material.name, ["--studies", str(studies)]
    if material.store.root.name != "runs":
        flags += ["--runs", shown_path(str(material.store.root))]
    if _is_shipped(material.experiment):
        return shlex.join(["lossbench", "run", name, *flags])
    files = _plugin_files(material)
    if files:  # the resolved file lies elsewhere than the one whose plugins these are
        flags += ["--set", "plugins=[]", *(part for file in files for part in ("--plugin", file))]
    if weights := _weights_file(material):  # and so are its weights
        flags += ["--set", f"pretrained.weights={shown_path(weights)}"]
    return shlex.join(["lossbench", "run", f"reports/{name}/experiment.toml", *flags])


def _before_the_first(material: Material, task: str, found: Top) -> Settling | None:
    """Too few studies for any test."""
    if material.unit != "study":
        return None
    wanted = max(FIRST_LOOK, material.studies(task))
    sentence = (
        f"Pairs are tested from {FIRST_LOOK} studies on; {found.comparison.studies} are there"
        f"{_effort(material, wanted)}. What has finished is used again."
    )
    return Settling(sentence=sentence, pairs=None, command=command(material, wanted))


def _effort(material: Material, studies: int) -> str:
    """`: about 14 minutes of computing more`, from what a study took; empty where it is not known."""
    column = "cost.run_wall_s"
    if column not in material.table:
        return ""
    rows = material.table.drop_duplicates("run_id")
    there = rows["study"].nunique()
    minutes = float(rows[column].sum()) / max(there, 1) * max(0, studies - there) / 60
    if not minutes:
        return ""
    size = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
    return f": about {'a minute' if minutes < 1.5 else size} of one core's time"


def _least(pair: PairVerdict) -> int | None:
    """The fewest studies that may tell a pair apart or show it to be equal."""
    found = [one.least for one in (pair.studies_for_difference, pair.studies_for_equivalence) if one and one.least]
    return min(found, default=None)


def _table(material: Material, task: str, pairs: list[PairVerdict]) -> Table:
    region = f"±{EQUIVALENCE[PRIMARY]:g}"
    units = {"study": "studies", "seed": "seeds"}[material.unit]
    return make_table(
        "open",
        f"Open at the top of {task}",
        [
            Column("pair", numeric=False),
            Column("difference", "MAP@R"),
            Column("told apart", f"{units}, if as seen"),
            Column("shown equal", f"{units}, within {region}"),
        ],
        [
            Row(
                (
                    Cell(f"{pair.a} and {pair.b}"),
                    Cell(formats.signed(pair.effect.mean), pair.effect.mean),
                    Cell(range_text(pair.studies_for_difference) or formats.NONE),
                    Cell(range_text(pair.studies_for_equivalence) or formats.NONE),
                )
            )
            for pair in pairs
        ],
    )


def _is_shipped(experiment: Mapping[str, Any]) -> bool:
    """Whether the experiment of that name that ships is this one, but for its number of studies."""
    file = shipped.experiments().get(str(experiment["name"]))
    try:
        return file is not None and _but_studies(read_experiment(file).model_dump(mode="json")) == _but_studies(
            experiment
        )
    except SpecError:  # of another version of lossbench
        return False


def _but_studies(experiment: Mapping[str, Any]) -> str:
    budget = {key: value for key, value in experiment["budget"].items() if key != "studies"}
    return resolved_toml({**experiment, "budget": budget})


def _plugin_files(material: Material) -> list[str]:
    """The plugin files of the runs that need one, as seen from the working directory.

    Runs that need none may be those of another experiment, with files of its own.
    """
    specs = [spec for spec in _first_specs(material) if spec["provenance"]["plugins"]]
    return [shown_path(file) for file in dict.fromkeys(file for spec in specs for file in spec["plugin_files"])]


def _weights_file(material: Material) -> str:
    """The file that networks start from; empty where they start anew."""
    found = (str(spec["weights_file"]) for spec in _first_specs(material) if spec.get("start"))
    return next(found, "")


def _first_specs(material: Material) -> list[Mapping[str, Any]]:
    """What the first run of each recipe was to do; embeddings from elsewhere have nothing of the kind."""
    runs = material.table.drop_duplicates("recipe")["run_id"]
    return [spec for run in runs if (spec := material.record(str(run)).get("spec"))]

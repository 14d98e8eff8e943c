"""What to do with the answer of a task: use the recipe at its top, or settle what is open."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import top
from lossbench.report.exporting import folder_of
from lossbench.report.sections.settling import Settling, settling
from lossbench.report.sections.snippet import code, loaded, quoted, shown_path
from lossbench.report.sections.verdict import Answer

LOADED = """\
from lossbench import datasets, load_exported

model = load_exported({folder})
embeddings = model.embed(datasets.load({data}).samples)  # {own}: (N, {dim}) float32"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How to use a recipe.

    Attributes:
        recipe, standing: which, and why this one.
        study: whose parameters it has: the one with the median score.
        code: trains it; empty where a loss was given as a Python object.
        export: writes its embeddings and network; `load` embeds other samples with them.
    """

    recipe: str
    standing: str
    study: int
    code: str
    export: str
    load: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The next steps: use the recipe, settle the rest; None where there is nothing to use or to settle."""

    use: Use | None
    settle: Settling | None


NOTHING = Steps(use=None, settle=None)
NO_GAIN = Settling(
    sentence="Which recipe is the highest matters little while none is shown to be better than what needs no training. "
    "More classes and samples may help, or a network that has learnt from other data: `lossbench embed` makes features "
    "by it, a table [pretrained] goes on training it.",
    pairs=None,
    command="",
)


def steps(evidence: Evidence, task: str, answer: Answer) -> Steps:
    """What to do with the answer of a task."""
    settle = NO_GAIN if answer.kind == "baseline" else settling(evidence, task)
    return Steps(use=_use(evidence, task, answer.kind == "winner"), settle=settle)


def _use(evidence: Evidence, task: str, is_winner: bool) -> Use | None:
    material, found = evidence.material, top(evidence, task)
    if found is None or not found.sound:
        return None
    recipe = found.leader
    run = material.representative(task, recipe)
    spec = material.record(run).get("spec") if run else None
    if run is None or not spec:  # embeddings from elsewhere
        return None
    vectors = "errors.names" in material.arrays(run)
    words = ["lossbench", "export", material.name, "--task", task, "--recipe", recipe]
    if material.store.root.name != "runs":
        words += ["--runs", shown_path(str(material.store.root))]
    return Use(
        recipe=recipe,
        standing="the winner" if is_winner else "the highest mean, not a winner",
        study=int(material.table.loc[material.table["run_id"] == run, "study"].iloc[0]),
        code=code(spec, vectors=vectors),
        export=shlex.join(words),
        load=LOADED.format(
            folder=quoted(f"exports/{folder_of(task, recipe)}"),
            data=loaded(spec),
            own="or vectors of your own" if vectors else "or images or paths of your own",
            dim=spec["embedding_dim"],
        ),
    )

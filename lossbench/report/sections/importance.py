"""How much each hyper-parameter mattered for reaching the top of a search: Optuna's PED-ANOVA on stored trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from lossbench.report.evidence import pooled
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import VALIDATION, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

LEAST_TRIALS = 20  # of all studies together
TOP = 0.25  # the share of trials whose reaching is explained


def importances(material: Material, task: str, recipe: str) -> dict[str, float]:
    """Searched parameter to its importance, summing to one; empty below twenty trials.

    The evaluator asks which parameters separate the top quarter of trials from all of the searched space (Watanabe et
    al. 2023, arXiv:2304.10255). Trials of all studies are pooled, each less its study's mean: deals differ in height.
    """
    searched = material.searched(recipe)
    columns = [f"param.{name}" for name in searched]
    trials = pooled.trials(material, task, recipe, columns)
    if not searched or len(trials) < LEAST_TRIALS:
        return {}
    if len(searched) == 1:
        return dict.fromkeys(searched, 1.0)
    return _ped_anova(searched, trials[[*columns, VALIDATION]].to_dict("records"))


def table(evidence: Evidence, task: str) -> Table:
    """One row a recipe, one column a parameter."""
    material = evidence.material
    found = {recipe: importances(material, task, recipe) for recipe in material.recipes}
    names = list(dict.fromkeys(name for shares in found.values() for name in shares))
    columns = [Column("recipe", numeric=False), *[Column(name, "share") for name in names], Column("trials")]
    rows = [
        Row(
            (
                Cell(recipe),
                *[Cell(formats.share(shares.get(name, math.nan)), shares.get(name, math.nan)) for name in names],
                Cell(str(count := len(material.rows(task, recipe, "trial"))), float(count)),
            )
        )
        for recipe, shares in found.items()
        if shares
    ]
    notes = (
        f"Which parameters separated the top {formats.share(TOP)} of the trials of all studies, each less its study's "
        "mean, from the searched space (PED-ANOVA, from Optuna); shares of one recipe sum to 100 %. Recipes with fewer "
        f"than {LEAST_TRIALS} trials are left out. Exploratory.",
    )
    return make_table("importances", f"Importance of hyper-parameters, {task}", columns, rows, notes=notes)


def _ped_anova(searched: Mapping[str, Any], trials: list[dict[Any, Any]]) -> dict[str, float]:
    import optuna  # half a second, and only reports with enough trials need it

    distributions = {name: _distribution(found) for name, found in searched.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: _inside(trial[f"param.{name}"], searched[name]) for name in searched},
                distributions=distributions,
                value=float(trial[VALIDATION]),
            )
            for trial in trials
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of few trials, which the note under the table says
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(shares.get(name, 0.0)) for name in searched}


def _distribution(found: dict[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "options" in found:
        return CategoricalDistribution(found["options"])
    return FloatDistribution(found["low"], found["high"], log=found["log"])


def _inside(value: Any, found: dict[str, Any]) -> Any:
    """A stored value within its range, against the rounding of a table."""
    return value if "options" in found else min(max(float(value), found["low"]), found["high"])

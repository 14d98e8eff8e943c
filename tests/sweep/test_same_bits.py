"""The same plan file to the byte, whatever runs a sweep, in whatever order results arrive, and where it is stopped.

The runs are made up: a score is a recipe's mean and noise that its specification alone decides. What happens around
them is the real thing.
"""

from __future__ import annotations

import random
import shutil
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import pytest

from experiments import sweep, tiny_plan
from lossbench.specification.spec import SCHEMA
from lossbench.store import Store
from lossbench.sweep.probe import median_points
from lossbench.sweep.status import look

MEANS = {"softmax": 0.50, "contrastive": 0.56, "triplet": 0.56, "center": 0.40}
SETTINGS = (
    'recipes=["softmax", "contrastive", "triplet", "center"]',
    "claims=[]",
    'baselines=["untrained"]',
    "budget.trials=2",
    "budget.seeds=1",
    "budget.longer=1",
)
LOOKS = (*SETTINGS, "budget.studies={least=6, most=12}", "budget.racing=true")


class MadeUp(Executor):
    """Finishes calls one at a time: the first that came, the last one, or any; stops like Ctrl-C after `limit`."""

    def __init__(self, workers: int, order: str, limit: float = float("inf")) -> None:
        self.workers, self.left, self.made = workers, limit, 0
        self._pick = {"first": lambda size: 0, "last": lambda size: size - 1, "any": random.Random(order).randrange}[
            order
        ]
        self._calls: list[tuple[Future, object]] = []

    def submit(self, fn, spec):
        future: Future = Future()
        self._calls.append((future, spec))
        return future

    def wait(self, flying, *_, **__):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.made += 1
        future, spec = self._calls.pop(self._pick(len(self._calls)))
        future.set_result((record(spec), {}))
        return SimpleNamespace(done={future})


def record(spec):
    name = spec.terms[0].loss if spec.terms else "softmax"
    draw = random.Random(spec.key)
    figures = {"sphere.map_at_r": MEANS[name] + draw.gauss(0, 0.006)}
    return {"schema": SCHEMA, "run_id": spec.run_id, "status": "ok", "metrics": {"val": figures, "test": figures}}


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Sweep with made-up runs; gives the bytes of the plan file, the table and how many runs were made."""

    def run(folder, settings, workers=1, order="first", limit=float("inf")):
        executor = MadeUp(workers, order, limit)
        monkeypatch.setattr("lossbench.sweep.feed.wait", executor.wait)
        store, progress = sweep(tiny_plan(*settings), tmp_path / folder, executor)
        plan = store.root / "experiments" / "ablation.json"
        table = store.table(store.read_plan("ablation"))
        assert not table["status"].eq("missing").any()
        assert len(table) == progress.total == store.read_plan("ablation")["planned_runs"]
        return plan.read_bytes(), table, executor.made

    return run


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(*SETTINGS, "budget.studies=4"), LOOKS], ids=["a number", "looks and a race"])
def test_neither_the_number_of_workers_nor_the_order_of_arrival_matters(made_up, settings):
    one = made_up("one", settings)
    for workers, order in ((2, "last"), (8, "any")):
        other = made_up(f"{workers}{order}", settings, workers, order)
        assert other[0] == one[0]
        assert other[1].equals(one[1])


@pytest.mark.slow
@pytest.mark.parametrize("limit", [5, 60, 100])
def test_a_stop_in_between_changes_nothing_and_repeats_nothing(made_up, limit):
    whole, _, made = made_up("whole", LOOKS)
    with pytest.raises(KeyboardInterrupt):
        made_up("stopped", LOOKS, 2, "any", limit)
    again, _, left = made_up("stopped", LOOKS, 3, "last")
    assert again == whole
    assert left == made - limit


def test_looks_decide_from_first_studies_only_and_racing_drops_without_a_verdict(made_up, tmp_path):
    _, table, _ = made_up("looks", LOOKS)
    plan = Store(tmp_path / "looks").read_plan("ablation")
    task = "digits/closed-set"
    assert plan["dropped"][task] == {"center": 2}, "the reference stays, however far behind it is"
    assert max(table.loc[table["recipe"] == "center", "study"]) == 2
    decided = plan["looks"][task]
    assert [entry["studies"] for entry in decided if entry["look"]] == [7, 9, 12][: sum(e["look"] for e in decided)]
    assert decided[-1]["studies"] == plan["studies"][task] == max(table["study"])
    assert plan["inference"] == {"family": "all pairs", "reference": "softmax"}


@pytest.mark.slow
def test_raising_the_most_later_goes_on_and_repeats_nothing(made_up, tmp_path):
    alike = {"contrastive": 0.56, "triplet": 0.56}
    few = [setting.replace("most=12", "most=7") for setting in LOOKS]
    made_up("extended", few)
    before = Store(tmp_path / "extended").read_plan("ablation")["looks"]["digits/closed-set"]
    assert before[-1]["undecided"] == [list(alike)], "equal means stay open at seven studies"
    longer, table, made = made_up("extended", LOOKS)
    at_once, _, other = made_up("at once", LOOKS)
    assert longer == at_once
    assert made == other - table.loc[table["study"] <= 7, "run_id"].nunique() > 0


def test_studies_run_in_order_and_later_ones_wait_behind_them(made_up, tmp_path, monkeypatch):
    started = []
    submit = MadeUp.submit
    monkeypatch.setattr(MadeUp, "submit", lambda self, fn, spec: started.append(spec.run_id) or submit(self, fn, spec))
    _, table, _ = made_up("order", (*SETTINGS, "budget.studies=3"), workers=1)
    study = dict(zip(table["run_id"], table["study"], strict=True))
    order = [study[run] for run in started]
    assert order[0] == 1
    assert order[-1] == 3
    early = [place for place, number in enumerate(order) if number == 1]
    assert order.index(3) > early[-1], "nobody waits for a later study"


def test_status_counts_whole_studies(made_up, tmp_path):
    def done():
        (found,) = look(tmp_path / "counted")["experiments"]
        (counted,) = found["studies"]
        return counted["done"], counted["planned"]

    settings = (*SETTINGS, "budget.studies=3")
    with pytest.raises(KeyboardInterrupt):
        made_up("counted", settings, limit=1)
    assert done() == (0, 3)
    made_up("counted", settings)
    assert done() == (3, 3)
    store = Store(tmp_path / "counted")
    lost = next(row for row in store.read_plan("ablation")["rows"] if (row["study"], row["role"]) == (2, "final"))
    shutil.rmtree(store.folder(lost["run_id"]))
    assert done() == (1, 3)


def test_the_probe_measures_the_point_of_the_median_study(made_up, tmp_path):
    made_up("probed", (*SETTINGS, "budget.studies=4"))
    store, plan = Store(tmp_path / "probed"), tiny_plan(*SETTINGS)
    table = store.table(store.read_plan("ablation"))
    points = median_points(plan, store, plan.experiment.tasks[0])
    for recipe, row in points.items():
        finals = table[(table["recipe"] == recipe) & (table["role"] == "final")].sort_values("val.sphere.map_at_r")
        assert row["study"] == finals["study"].iloc[1], "the lower of the two in the middle"


def test_every_choice_is_kept_with_what_made_it(made_up, tmp_path):
    settings = (*SETTINGS, "budget.studies=2", "budget.trials=4", "budget.candidates=2", "budget.candidate_seeds=2")
    _, table, _ = made_up("choices", settings)
    plan = Store(tmp_path / "choices").read_plan("ablation")
    assert len(plan["choices"]) == 2 * len(MEANS)
    for choice in plan["choices"]:
        rows = table[(table["recipe"] == choice["recipe"]) & (table["study"] == choice["study"])]
        trials = rows[rows["role"] == "trial"].set_index("trial")["val.sphere.map_at_r"]
        assert choice["candidates"] == [0, *trials.drop(0).nlargest(2).index]
        assert choice["scores"] == [trials[trial] for trial in choice["candidates"]]
        fresh = rows[rows["role"] == "candidate"].groupby("trial")["val.sphere.map_at_r"].mean()
        assert choice["trial"] == fresh.idxmax()
        assert set(rows.loc[rows["role"].isin(["final", "longer"]), "trial"]) == {choice["trial"]}

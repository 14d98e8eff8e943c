"""Claims: strict in the file, registered before the first final run, post hoc afterwards."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta

import pytest

from experiments import ABLATION, sweep, tiny_plan
from lossbench.plugins.mistakes import SpecError
from lossbench.run.execution import execute
from lossbench.specification import claims
from lossbench.specification.experiment import Claim
from lossbench.store import Store
from lossbench.sweep.registration import register, registered

PAIR = ("training.epochs=1", 'recipes=["softmax", "softmax+center"]')


def claim(**changes: object) -> str:
    fields = {
        "text": "Center helps",
        "metric": "test.sphere.map_at_r",
        "comparison": ["softmax+center", "softmax"],
        "direction": "higher",
        "smallest_effect": 0.005,
    } | changes
    return "claims=[{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in fields.items()) + "}]"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "test.sphere.map_at_k"}, "'test.sphere.map_at_k'; did you mean 'test.sphere.map_at_r'?"),
        ({"metric": "cost.train_wall_s"}, "runs share the machine, so their costs support no claim; use probe."),
        ({"direction": "up"}, "'up' is not 'higher', 'lower', 'not lower', 'not higher' or 'equal'"),
        ({"direction": "equal", "smallest_effect": 0.0}, "0 leaves nothing to show of 'equal'; it must be positive"),
        ({"smallest_effect": -1}, "-1 is less than 0"),
        ({"comparison": ["softmax"]}, "['softmax'] is neither [recipe, recipe] nor [recipe, number]"),
        ({"comparison": ["softmax", True]}, "['softmax', True] is neither [recipe, recipe] nor [recipe, number]"),
        ({"comparison": ["softmax", "softmax"]}, "'softmax' is compared with itself"),
        ({"metrc": "x"}, "unknown key; did you mean 'metric'?"),
        ({"text": ""}, "must not be empty"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_claim_is_one_line_with_its_place(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        tiny_plan(claim(**changes))
    (line,) = caught.value.mistakes
    assert "claims[0]" in line
    assert expected in line


def test_a_claim_may_name_recipes_and_tasks_that_are_not_listed() -> None:
    assert tiny_plan(claim(comparison=["nobody", "softmax"], task="mnist")).experiment.claims[0].task == "mnist"


def test_the_shipped_claims_are_valid_and_name_their_source() -> None:
    found = tiny_plan().experiment.claims
    assert len({each.text for each in found}) == 4
    assert all("Wen et al. 2016" in each.source for each in found)


@pytest.mark.slow
def test_claims_before_the_first_final_run_are_not_post_hoc_and_later_ones_are(tmp_path) -> None:
    store, quiet = sweep(tiny_plan(*PAIR, claim()), tmp_path)
    assert [entry["post_hoc"] for entry in store.read_claims("ablation").values()] == [False]
    assert not [line for line in quiet.messages if "post hoc" in line]

    _, quiet = sweep(tiny_plan(*PAIR, claim()), tmp_path)
    assert not [line for line in quiet.messages if "post hoc" in line], "the same claim was registered in time"

    _, quiet = sweep(tiny_plan(*PAIR, claim(smallest_effect=0.001)), tmp_path)
    assert "post hoc, as final runs were already there: Center helps" in quiet.messages
    assert [entry["post_hoc"] for entry in Store(tmp_path).read_claims("ablation").values()] == [False, True]


def test_a_claim_is_registered_with_the_file_that_states_it_and_the_date(tmp_path) -> None:
    plan = tiny_plan(*PAIR, claim())
    register(Store(tmp_path), "ablation", plan.experiment.claims, seen=False, file_digest=plan.file_digest)
    (entry,) = Store(tmp_path).read_claims("ablation").values()
    assert entry["file_sha256"] == hashlib.sha256(ABLATION.read_bytes()).hexdigest()
    assert abs(date.fromisoformat(entry["date"]) - datetime.now(UTC).date()) <= timedelta(days=1)
    register(Store(tmp_path), "ablation", plan.experiment.claims, seen=True, file_digest="another file")
    assert registered(Store(tmp_path), "ablation", plan.experiment.claims) == Store(tmp_path).read_claims("ablation")
    assert list(Store(tmp_path).read_claims("ablation").values()) == [entry], "the first registration stands"


def test_a_claim_is_known_by_its_content_alone() -> None:
    one, other = (tiny_plan(claim(smallest_effect=effect)).experiment.claims[0] for effect in (0.005, 0.006))
    assert claims.digest(one.model_dump(mode="json")) == claims.digest(
        Claim(**one.model_dump(mode="json")).model_dump(mode="json")
    )
    assert claims.digest(one.model_dump(mode="json")) != claims.digest(other.model_dump(mode="json"))


GALLERY = ("mean_average", "cmc_at")
ELSEWHERE = {  # figures that a protocol does not have
    "closed-set": ("auc", "eer", "tar_at", *GALLERY),
    "open-set": ("nearest_mean", "knn", "test.head", *GALLERY),
    "query-gallery": ("auc", "eer", "tar_at", "nearest_mean", "knn", "test.head", "precision", "recall"),
}


@pytest.mark.parametrize("protocol", ELSEWHERE)
def test_every_stored_figure_that_may_be_claimed_is_stored(protocol: str) -> None:
    data = '"glyphs", train_classes=20, val_classes=10, input_size=8' if protocol == "query-gallery" else '"digits"'
    plan = tiny_plan(f'tasks=[{{dataset={data}, protocol="{protocol}"}}]', 'recipes=["softmax"]', "training.epochs=1")
    spec = plan.run_spec(plan.experiment.tasks[0], plan.recipes[0], plan.recipes[0].defaults, seed=1, final=True)
    metrics = execute(spec).record["metrics"]
    stored = {f"{split}.{name}" for split, found in metrics.items() for name in found}
    expected = {name for name in claims.known_figures() if name not in claims.DERIVED}
    assert {name for name in expected if not any(part in name for part in ELSEWHERE[protocol])} <= stored

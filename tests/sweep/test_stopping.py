"""When studies stop and which recipes leave: the same answer whatever ran them, and nothing said of who left."""

from __future__ import annotations

import math

from experiments import tiny_plan
from lossbench.statistics.looks import FIRST_LOOK
from lossbench.statistics.verdicts import compare_all
from lossbench.sweep.stopping import Race

NAMES = ("softmax", "contrastive", "triplet")


def race(*overrides):
    plan = tiny_plan('recipes=["softmax", "contrastive", "triplet"]', *overrides)
    return Race(plan.experiment.budget, plan.recipes)


def go_on(racing, scores):
    """Let all studies that are planned end with these scores, again and again; after how many each decision fell."""
    stops = []
    while racing.begun < racing.until:
        for study in range(racing.begun + 1, racing.until + 1):
            racing.scores[study] = {recipe.name: scores[recipe.name](study) for recipe in racing.recipes_of(study)}
        racing.begun = racing.until
        stops.append(racing.begun)
        racing.decide()
    return stops


def around(mean, spread=0.001, step=7):
    return lambda study: mean + spread * ((study * step) % 5 - 2)


CLEAR = {"softmax": around(0.5), "contrastive": around(0.7, step=3), "triplet": around(0.6, step=1)}
OPEN = {"softmax": around(0.6, 0.01), "contrastive": lambda study: 0.6 + 0.02 * (-1) ** study, "triplet": around(0.55)}


def test_a_number_of_studies_is_that_many():
    assert go_on(race("budget.studies=5"), CLEAR) == [5]
    assert go_on(race("budget.studies=20"), CLEAR) == [20]


def test_several_stop_at_the_first_look_that_decides_the_top():
    assert go_on(race("budget.studies={least=6, most=24}"), CLEAR) == [FIRST_LOOK]
    assert go_on(race("budget.studies={least=8, most=24}"), CLEAR) == [9]


def test_how_many_there_can_be_is_the_most_until_a_look_has_ended_them():
    racing = race("budget.studies={least=6, most=24}")
    assert (racing.until, racing.most) == (FIRST_LOOK, 24)
    go_on(racing, CLEAR)
    assert racing.most == FIRST_LOOK
    assert race("budget.studies=5").most == 5


def test_several_go_on_to_the_most_while_the_top_is_open():
    assert go_on(race("budget.studies={least=6, most=20}"), OPEN) == [7, 9, 12, 18, 20]


def test_in_a_race_who_is_clearly_beaten_takes_part_no_more_but_for_the_reference():
    racing = race("budget.studies=4", "budget.racing=true")
    go_on(racing, CLEAR)
    assert racing.dropped == {"triplet": 2}
    assert [recipe.name for recipe in racing.recipes_of(2)] == list(NAMES)
    assert [recipe.name for recipe in racing.recipes_of(3)] == ["softmax", "contrastive"]
    assert [(decision.studies, decision.look, decision.dropped) for decision in racing.looks] == [
        (2, False, ("triplet",)), (3, False, ()), (4, False, ()),
    ]  # fmt: skip


def test_a_recipe_that_fails_holds_up_no_race_and_is_not_dropped():
    scores = {**CLEAR, "contrastive": lambda study: math.nan, "softmax": around(0.8)}
    racing = race("budget.studies=4", "budget.racing=true")
    go_on(racing, scores)
    assert racing.dropped == {"triplet": 2}


def test_without_racing_nobody_leaves_and_nothing_is_decided():
    racing = race("budget.studies=4")
    assert go_on(racing, CLEAR) == [4]
    assert racing.dropped == {}
    assert racing.looks == []


def test_looks_say_what_was_open_and_raising_the_most_goes_on_from_them():
    few, many = race("budget.studies={least=6, most=9}"), race("budget.studies={least=6, most=20}")
    go_on(few, OPEN)
    go_on(many, OPEN)
    assert [decision.until for decision in few.looks] == [9, 9]
    assert many.looks[0] == few.looks[0]
    assert many.looks[1].studies == 9
    assert many.looks[1].until == 12
    assert all(decision.look for decision in many.looks[:-1])
    assert not many.looks[-1].look, "20 is no look of the schedule"
    assert many.looks[0].undecided
    assert all(set(pair) <= set(many.looks[0].top) for pair in many.looks[0].undecided)


def test_many_recipes_are_tested_as_leaders_and_few_in_all_pairs(monkeypatch):
    asked = []
    monkeypatch.setattr("lossbench.sweep.stopping.undecided_at_top", lambda comparison: False)
    monkeypatch.setattr(
        "lossbench.sweep.stopping.compare_all",
        lambda scores, **how: (
            asked.append((len(scores), how["family"], how["reference"])) or compare_all(scores, **how)
        ),
    )
    names = [f"r{number}" for number in range(12)] + ["softmax"]
    for count in (12, 13):
        recipes = ",".join(f'{{ name = "{name}", use = "softmax" }}' for name in names[-count:])
        plan = tiny_plan(f"recipes=[{recipes}]", "budget.studies={least=6, most=9}")
        racing = Race(plan.experiment.budget, plan.recipes)
        go_on(racing, {name: around(0.5 + number / 100, step=number) for number, name in enumerate(names)})
    assert asked == [(12, "all pairs", None), (13, "leaders", "softmax")]

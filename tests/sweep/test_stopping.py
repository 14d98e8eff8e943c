"""When studies stop and which recipes leave: the same answer whatever ran them, and nothing said of who left."""

from __future__ import annotations

from experiments import tiny_plan
from lossbench.statistics.looks import FIRST_LOOK
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


def around(mean, spread=0.001):
    return lambda study: mean + spread * ((study * 7) % 5 - 2)


CLEAR = {"softmax": around(0.5), "contrastive": around(0.7), "triplet": around(0.6)}
OPEN = {"softmax": around(0.6, 0.01), "contrastive": lambda study: 0.6 + 0.02 * (-1) ** study, "triplet": around(0.55)}


def test_a_number_of_studies_is_that_many():
    assert go_on(race("budget.studies=5"), CLEAR) == [5]
    assert go_on(race("budget.studies=20"), CLEAR) == [20]


def test_several_stop_at_the_first_look_that_decides_the_top():
    assert go_on(race("budget.studies={least=6, most=24}"), CLEAR) == [FIRST_LOOK]
    assert go_on(race("budget.studies={least=8, most=24}"), CLEAR) == [9]


def test_several_go_on_to_the_most_while_the_top_is_open():
    assert go_on(race("budget.studies={least=6, most=20}"), OPEN) == [7, 9, 12, 18, 20]


def test_in_a_race_who_is_clearly_beaten_takes_part_no_more():
    racing = race("budget.studies=4", "budget.racing=true")
    go_on(racing, CLEAR)
    assert racing.dropped == {"softmax": 2, "triplet": 2}
    assert [recipe.name for recipe in racing.recipes_of(2)] == list(NAMES)
    assert [recipe.name for recipe in racing.recipes_of(3)] == ["contrastive"]


def test_without_racing_nobody_leaves():
    racing = race("budget.studies=4")
    go_on(racing, CLEAR)
    assert racing.dropped == {}

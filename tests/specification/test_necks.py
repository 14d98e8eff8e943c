"""`neck` and `[terms]` of a file: what they say of each recipe, and what is a mistake."""

from __future__ import annotations

import pytest

from experiments import run_spec, tiny_plan
from lossbench.plugins import registry
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.necks import default_place
from lossbench.specification.spec import from_json, to_json
from lossbench.sweep import launch

RECIPES = 'recipes=["softmax+triplet", { name = "bare", use = "softmax+center", neck = "none" }]'
NECK = "neck=batchnorm"


def test_a_recipe_has_the_necks_of_its_own_or_the_experiments():
    necked, bare = tiny_plan(RECIPES, NECK).recipes
    assert (necked.neck, necked.before_neck) == ("batchnorm", ("triplet",))
    assert (bare.neck, bare.before_neck) == ("", ())
    own = tiny_plan('recipes=["softmax", { name = "own", use = "softmax", neck = "batchnorm" }]').recipes
    assert [recipe.neck for recipe in own] == ["", "batchnorm"]


@pytest.mark.parametrize(
    ("loss", "place"),
    [
        *(("softmax", "after"), ("arcface", "after"), ("triplet", "before"), ("contrastive", "before")),
        *(("center", "before"), ("center-popular", "before"), ("contrastive-center", "before")),
    ],
)
def test_heads_see_the_neck_and_comparisons_do_not(loss, place):
    assert default_place(registry.find("loss", loss)) == place


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (('terms={softmax="after"}',), "terms: there is no neck that a loss could see before or after"),
        ((NECK, 'terms={softmx="after"}'), "terms.softmx: unknown loss; did you mean 'softmax'"),
        ((NECK, 'terms={softmax="behind"}'), "terms.softmax: 'behind' is not 'before' or 'after' the neck"),
        ((NECK, "terms={softmax=1}"), "terms.softmax: 1 is not 'before' or 'after' the neck"),
        ((NECK, 'terms={bear={softmax="after"}}'), "terms.bear: unknown recipe; did you mean 'bare'"),
        (
            (NECK, 'terms={"softmax+triplet"={center="after"}}'),
            r'terms."softmax\+triplet".center: is no loss of \'softmax\+triplet\'',
        ),
        (("neck=batch-norm",), "neck: 'batch-norm' is not 'none' or 'batchnorm'; did you mean 'batchnorm'"),
    ],
)
def test_mistakes_say_what_they_are(settings, message):
    with pytest.raises(SpecError, match=message):
        tiny_plan(RECIPES, *settings)


def test_terms_of_a_recipe_that_was_taken_out_are_forgotten(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text(
        """name = "a"
tasks = [{ dataset = "digits", protocol = "closed-set" }]
backbone = "convnet"
neck = "batchnorm"
recipes = ["softmax", "softmax+center"]

[terms]
center = "before"

[terms."softmax+center"]
center = "after"
"""
    )
    assert launch.prepare(file, ['recipes=["softmax"]'], []).recipes[0].before_neck == ()
    assert launch.prepare(file, [], []).recipes[1].before_neck == ()


def test_a_record_gives_the_neck_back():
    spec = run_spec("softmax+center", NECK)
    assert from_json(to_json(spec)) == spec
    plain = to_json(run_spec("softmax+center"))
    assert not {"neck", "before_neck"} & plain.keys()
    assert from_json(plain).run_id == run_spec("softmax+center").run_id

"""Plugins: the ten-line form, and one clear line for every way to get it wrong."""

from __future__ import annotations

import pytest

from lossbench import Choice, Float, Problem
from lossbench.plugins import PluginError, registry
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.recipes import make_recipe, with_params
from lossbench.specification.training_settings import Training

HEAD = "from lossbench import Choice, Float, Problem, loss\nfrom torch import nn\n"
SOUND = HEAD + "@loss({name!r}, space={{'m': Float(0.1, 0.5)}})\ndef f(problem, *, m=0.2):\n    return nn.Identity()\n"


def write(tmp_path, text, name="plugin.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_registers_its_losses_once_and_again_when_it_changes(tmp_path):
    path = write(tmp_path, SOUND.format(name="first-form"))
    digest = registry.load_file(path)
    assert registry.load_file(path) == digest
    assert registry.find("loss", "first-form").space == {"m": Float(0.1, 0.5)}
    write(tmp_path, SOUND.format(name="second-form"))
    assert registry.load_file(path) != digest
    assert "second-form" in registry.names("loss")
    assert "first-form" not in registry.names("loss")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "does not import: ModuleNotFoundError: No module named"),
        ("def broken(:", "does not import: SyntaxError"),
        ("raise SystemExit(3)", "does not import: SystemExit: 3"),
        ("x = 1", "registers nothing"),
        (SOUND.format(name="softmax"), "loss 'softmax' is already registered by lossbench itself"),
        (SOUND.format(name="a+b"), "a name holds no"),
        (HEAD + "@loss('p', space={'m': Float(0.5, 0.1)})\ndef f(problem, *, m=0.2): ...", "low must not exceed high"),
        (HEAD + "@loss('p', space={'m': Float(0.0, 1, log=True)})\ndef f(problem, *, m=0.2): ...", "starts above 0"),
        (HEAD + "@loss('p', space={'m': Float(0.1, 3, valid=(0, 2))})\ndef f(problem, *, m=0.2): ...", "is outside"),
        (HEAD + "@loss('p')\ndef f(problem, *, m=0.2): ...", "argument 'm' is not in its space"),
        (HEAD + "@loss('p', space={'m': Float(0, 1)})\ndef f(problem): ...", "'m', which is not an argument"),
        (HEAD + "@loss('p', space={'m': Float(0, 1)})\ndef f(problem, *, m): ...", "argument 'm' has no default"),
        (
            HEAD + "@loss('p', space={'m': Float(0, 1, valid=(0, 1))})\ndef f(problem, *, m=7): ...",
            r"default of 'm': 7 is outside \[0, 1\]",
        ),
        (HEAD + "@loss('p', space={'m': Choice(('a', 'b'))})\ndef f(problem, *, m='c'): ...", "not one of a, b"),
    ],
)
def test_a_wrong_plugin_is_one_line_that_names_file_and_rule(tmp_path, text, message):
    path = write(tmp_path, text)
    before = registry.names("loss")
    with pytest.raises(PluginError, match=message) as caught:
        registry.load_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert registry.names("loss") == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PluginError, match="No such file"):
        registry.load_file(tmp_path / "nowhere.py")


def test_every_file_that_does_not_load_is_named_and_the_others_are_loaded(tmp_path):
    wrong = [write(tmp_path, "x = 1", "empty.py"), tmp_path / "nowhere.py"]
    sound = write(tmp_path, SOUND.format(name="beside-wrong-ones"), "sound.py")
    with pytest.raises(SpecError) as caught:
        registry.load_files([wrong[0], str(sound), wrong[1]])
    assert [mistake.partition(": ")[0] for mistake in caught.value.mistakes] == [f"plugin {path}" for path in wrong]
    assert "beside-wrong-ones" in registry.names("loss")


def test_two_files_may_not_claim_one_name(tmp_path):
    registry.load_file(write(tmp_path, SOUND.format(name="claimed"), "one.py"))
    with pytest.raises(PluginError, match=r"already registered by .*one\.py"):
        registry.load_file(write(tmp_path, SOUND.format(name="claimed"), "two.py"))


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PluginError, match="unknown loss 'centre'; did you mean 'center'"):
        registry.find("loss", "centre")


def test_lambda_is_spelled_lambda_in_files_and_lambda_underscore_in_python(tmp_path):
    text = (
        HEAD + "@loss('spelled', space={'lambda': Float(0, 1)})\ndef f(problem, *, lambda_=0.5):\n    return lambda_\n"
    )
    registry.load_file(write(tmp_path, text))
    plugin = registry.find("loss", "spelled")
    assert plugin.defaults == {"lambda": 0.5}
    assert plugin.build(Problem(num_classes=2, embedding_dim=2), **{"lambda": 0.25}) == 0.25


def test_a_joint_recipe_has_lambda_and_the_sampler_its_terms_need():
    recipe = make_recipe("softmax+contrastive", "softmax+contrastive", Training())
    assert recipe.sampler == "balanced"
    assert list(recipe.space) == [
        "lr",
        "head",
        "label_smoothing",
        "lambda",
        "pos_margin",
        "neg_margin",
        "miner",
        "memory",
    ]
    terms = recipe.terms({**recipe.defaults, "lambda": 0.25})
    assert [(term.loss, term.weight) for term in terms] == [("softmax", 1.0), ("contrastive", 0.25)]
    assert "miner" not in recipe.searched


def test_three_terms_have_a_weight_each():
    recipe = make_recipe("x", "softmax+center+triplet@uniform", Training())
    assert recipe.sampler == "uniform"
    assert {"lambda", "lambda_triplet"} <= recipe.space.keys()


def test_every_recipe_searches_the_same_learning_rates():
    rates = {
        make_recipe(name, name, Training()).space["lr"]
        for name in ("softmax", "contrastive", "triplet", "softmax+center")
    }
    assert len(rates) == 1


def test_experiments_fix_values_against_what_is_valid_and_replace_ranges():
    recipe = make_recipe("softmax+center", "softmax+center", Training())
    fixed, mistakes = with_params(recipe, {"lambda": 0.0, "alpha": {"low": 0.6, "high": 0.9}})
    assert mistakes == []  # 0 lies outside the range that is searched, but is valid
    assert "lambda" not in fixed.searched
    assert fixed.defaults["lambda"] == 0.0
    assert fixed.defaults["alpha"] == 0.6  # the default, moved into the range
    _, mistakes = with_params(recipe, {"alpha": 1.7, "lamda": 1.0})
    assert mistakes == [
        ("alpha", "1.7 is outside [0, 1]"),
        ("lamda", "unknown parameter; did you mean 'lambda'?"),
    ]


def test_choices_are_searched_only_when_they_say_so():
    assert Choice(("a", "b")).problem_with("c") == "'c' is not one of a, b"
    assert not Choice(("a", "b")).tune

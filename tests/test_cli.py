"""The command line as a user meets it: one line for every mistake, and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from experiments import ABLATION, DIGITS, TINY
from lossbench.cli import main

PLUGINS = [ABLATION.parent / "plugins" / name for name in ("binomial.py", "circle.py")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_help_answers_without_heavy_imports():
    code = (
        "import sys; from lossbench.cli import main\n"
        "for arguments in (['--help'], ['run', '--help'], ['list']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "print([name for name in ('torch', 'pandas', 'scipy', 'optuna', 'sklearn', 'matplotlib', 'numpy') "
        "if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "softmax" in done.stdout


DIGITS_TWICE = ", ".join(2 * ['{dataset="digits", protocol="closed-set"}'])
SET_MISTAKES = [
    ("training.epoch=3", ["training.epoch: unknown key; did you mean 'epochs'?"]),
    ("epoch=3", ["epoch: unknown key"]),
    ('training.epochs="many"', ["training.epochs: 'many' is not a whole number"]),
    ("training.epochs=1.5", ["training.epochs: 1.5 is not a whole number"]),
    ("training.epochs=true", ["training.epochs: True is not a whole number"]),
    ("training.epochs=0", ["training.epochs: 0 is less than 1"]),
    ("training.optimizer=adm", ["training.optimizer: 'adm' is not 'adam' or 'sgd'; did you mean 'adam'?"]),
    ("budget=3", ["budget: 3 is not a table"]),
    ("training.epochs.x=1", ["--set training.epochs.x=1: 'epochs' is not a table"]),
    ("nothing", ["--set nothing: is not key=value"]),
    ("recipes=[]", ["recipes: must not be empty"]),
    ('recipes=["softmax", "softmax"]', ["recipes: 'softmax' is listed twice"]),
    ('recipes=["softmx"]', ["recipes[0]: unknown loss 'softmx'; did you mean 'softmax'?"]),
    ('recipes=["softmax@balance"]', ["recipes[0]: unknown sampler 'balance'; did you mean 'balanced'?"]),
    ("recipes=[3]", ["recipes[0]: 3 is not a table"]),
    ("backbone=convnt", ["backbone: unknown backbone 'convnt'; did you mean 'convnet'?"]),
    ("tasks=[]", ["tasks: must not be empty"]),
    ('tasks=[{dataset="digits"}]', ["tasks[0].protocol: is required"]),
    ('tasks=[{dataset="digit", protocol="closed-set"}]', ["tasks[0]: unknown dataset 'digit'; did you mean 'digits'?"]),
    ('tasks=[{dataset="digits", protocol="closed"}]', ["tasks[0]: digits: protocol 'closed' is not offered"]),
    (
        'tasks=[{dataset="digits", protocol="closed-set", train_classes=11}]',
        ["tasks[0]: train_classes: 11 is more than the 10 training classes"],
    ),
    ("training.batch_size=3", ["training.batch_size: 3 is less than 4"]),
    ("training.batch_size=6", ["training.batch_size: 6 holds fewer than two classes of 4"]),
    ('params."softmax+center".alpha=1.7', ['params."softmax+center".alpha: 1.7 is outside [0, 1]']),
    ('params."softmax+center".alpa=1', ["params.\"softmax+center\".alpa: unknown parameter; did you mean 'alpha'?"]),
    ('params."softmax+center".alpha={low=1, high=0}', ["low must not exceed high"]),
    ("params.triplet.miner=hard", ["params.triplet.miner: 'hard' is not one of all, semi-hard, batch-hard"]),
    ("params.softmax=3", ["params.softmax: 3 is not a table"]),
    ('plugins=["nowhere.py"]', ["plugins: plugin", "nowhere.py: No such file"]),
    ('name="a/b"', ["name: 'a/b'"]),
    ("embedding_dim=0", ["embedding_dim: 0"]),
    ("budget.seeds=1000000000", ["budget.seeds: 1000000000 is more than 10000"]),
    ('recipes=["softmax", "softmax "]', ["recipes: 'softmax' is listed twice"]),
    ('recipes=[{name="pixels", use="softmax"}]', ["recipes[0]: 'pixels' is the name of a baseline"]),
    (
        'baselines=["pixel"]',
        ["'pixel' is not 'untrained', 'pixels', 'features', 'pca' or 'lda'; did you mean 'pixels'?"],
    ),
    ('tasks=[{dataset="digits:x", protocol="closed-set"}]', ["tasks[0]: digits:x: 'digits' takes no path"]),
    ('tasks=[{dataset="folder:no/such", protocol="closed-set"}]', ["tasks[0]: folder:no/such: is not a folder"]),
    (f"tasks=[{DIGITS_TWICE}]", ["tasks: 'digits/closed-set' is listed twice"]),
    (
        "training.batch_size=1000",
        ["tasks[1]: training.batch_size 1000 is more than the 813", "training.batch_size=512"],
    ),
    ('params."softmax+centre".alpha=1', ["no such recipe: unknown loss 'centre'; did you mean 'center'?"]),
    ("params.softmax.lr={low=1}", ["params.softmax.lr: a range needs low and high"]),
    ("params.softmax.lr={low=0, high=1, log=true}", ["a logarithmic range starts above 0"]),
    ("params.softmax.lr=nan", ["params.softmax.lr: nan is outside [0, 1e+06]"]),
    ("training.weight_decay=inf", ["training.weight_decay: inf is not a finite number"]),
    ("=3", ["--set =3: is not key=value"]),
    ("a b=3", ["--set a b=3: 'a b' is not a TOML key"]),
    ("training.device=cuda", ["training.device: 'cuda': this torch finds no GPU"]),
]


@pytest.mark.parametrize(("override", "expected"), SET_MISTAKES, ids=[override for override, _ in SET_MISTAKES])
def test_a_mistake_is_one_line_with_status_2_and_nothing_written(folder, override, expected):
    if "cuda" in override and __import__("torch").cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = run("run", ABLATION, "--set", override)
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("lossbench: error: ")
    for part in expected:
        assert part in lines[0]
    assert list(folder.iterdir()) == []


FILE_MISTAKES = [
    (None, "no such file"),
    (b"\xff\xfe\x00", "is not UTF-8 text"),
    (b"name = ", "is not TOML"),
    (b"a = 1\na = 2", "is not TOML"),
    (b"", "name: is required"),
]


@pytest.mark.parametrize(("content", "expected"), FILE_MISTAKES)
def test_an_unreadable_file_is_one_clear_line(folder, content, expected):
    if content is not None:
        (folder / "x.toml").write_bytes(content)
    result = run("run", "x.toml")
    assert result.exit_code == 2
    assert expected in result.output
    assert "Traceback" not in result.output
    assert len(list(folder.iterdir())) == (content is not None)


def test_all_mistakes_come_at_once(folder):
    result = run("run", ABLATION, "--set", "backbone=no", "--set", 'recipes=["no"]', "--set", "params.triplet.lr=-1")
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 2
    result = run("run", ABLATION, "--set", "embedding_dim=x", "--set", "training.epochs=0", "--set", "colour=red")
    assert len(result.output.splitlines()) == 3
    result = run("run", ABLATION, "--set", "nothing", "--set", "a b=1", "--set", "embedding_dim=x")
    assert len(result.output.splitlines()) == 3
    assert list(folder.iterdir()) == []


def test_parameters_of_recipes_that_were_taken_out_of_the_file_do_not_matter(folder):
    text = ABLATION.read_text().replace('recipes = ["softmax",', 'recipes = [{ name = "weak", use = "softmax" },')
    (folder / "x.toml").write_text(f"{text}\n[params.weak]\nlr = 0.1\n")
    narrowed = run("run", "x.toml", "--dry-run", "--set", 'recipes=["softmax"]', "--set", DIGITS)
    assert narrowed.exit_code == 0, narrowed.output
    unlisted = run("run", "x.toml", "--dry-run", "--set", 'params."softmax+triplet".margn=1')
    assert "margn: unknown parameter; did you mean 'margin'?" in unlisted.output


def test_folders_that_cannot_be_written_are_named_and_nothing_is_left(folder):
    (folder / "occupied").write_text("a file")
    result = run("run", ABLATION, "--reports", "occupied/reports")
    assert result.exit_code == 2
    assert "occupied/reports: cannot be written" in result.output
    assert [path.name for path in folder.iterdir()] == ["occupied"]


def test_a_report_of_nothing_says_what_is_known(folder):
    result = run("report", "ablation")
    assert result.exit_code == 2
    assert "no experiment 'ablation' was run here" in result.output


@pytest.mark.slow
def test_the_worked_plugins_run_from_the_command_line_to_the_report(folder):
    arguments = ["run", ABLATION, "--workers", "1"]
    for path in PLUGINS:
        arguments += ["--plugin", path]
    for value in (*TINY, 'recipes=["softmax", "binomial", "my-circle"]'):
        arguments += ["--set", value]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert Path(result.output.splitlines()[-1].split()[-1]).name == "index.html"
    report = folder / "reports" / "ablation"
    assert {"index.html", "report.md", "results.csv", "results.json"} <= {path.name for path in report.iterdir()}
    text = (report / "report.md").read_text()
    assert "binomial" in text
    assert "my-circle" in text
    json.loads((report / "results.json").read_text())
    plan = json.loads((folder / "runs/experiments/ablation.json").read_text())
    assert {row["recipe"] for row in plan["rows"]} == {"softmax", "binomial", "my-circle", "untrained", "pixels"}
    first = (report / "results.csv").read_text()
    again = run(*arguments)
    assert again.exit_code == 0
    assert (report / "results.csv").read_text() == first


def test_score_gives_the_figures_of_embeddings_from_elsewhere(folder):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    np.savez("points.npz", embeddings=rng.normal(size=(40, 3)) + labels[:, None], labels=labels)
    result = run("score", "points.npz")
    assert result.exit_code == 0, result.output
    assert "map_at_r" in result.output
    assert "intra_inter_ratio" in result.output
    assert "tar_at_far_0.1" in result.output
    embeddings = np.load("points.npz")["embeddings"]
    np.savez("named.npz", embeddings=embeddings, labels=np.array(["a", "b", "c", "d"])[labels])
    assert run("score", "named.npz").output == result.output
    np.savez("alone.npz", embeddings=embeddings, labels=np.zeros(40, dtype=int))
    assert "intra_mean" in run("score", "alone.npz").output


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"points": np.zeros((3, 2))}, "has no array 'embeddings'"),
        ({"embeddings": np.zeros((3, 2)), "labels": np.zeros(2, dtype=int)}, "labels"),
        ({"embeddings": np.full((4, 2), np.nan), "labels": np.array([0, 0, 1, 1])}, "embeddings"),
    ],
)
def test_score_names_what_is_wrong_with_a_file(folder, arrays, expected):
    np.savez("points.npz", **arrays)
    result = run("score", "points.npz")
    assert result.exit_code == 2
    assert expected in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hello", "x.npz: is not an .npz file"),
        (b"", "x.npz: is not an .npz file"),
        (None, "x.npz: no such file or directory"),
    ],
)
def test_score_of_something_else_is_one_line(folder, content, expected):
    if content is not None:
        (folder / "x.npz").write_bytes(content)
    result = run("score", "x.npz")
    assert (result.exit_code, result.output) == (2, f"lossbench: error: {expected}\n")
    np.save("x.npy", np.zeros(3))
    assert run("score", "x.npy").output == "lossbench: error: x.npy: is not an .npz file\n"


def test_score_takes_queries_and_a_gallery_in_two_files(folder):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.savez(f"{name}.npz", embeddings=rng.normal(size=(20, 3)), labels=np.arange(20) % 4)
    result = run("score", "--query", "a.npz", "--gallery", "b.npz")
    assert result.exit_code == 0, result.output
    assert "mean_average_precision" in result.output
    for wrong in (["--query", "a.npz"], ["a.npz", "--gallery", "b.npz"], []):
        result = run("score", *wrong)
        assert result.exit_code == 2
        assert result.output.startswith("lossbench: error: score: give files, or --query FILE with --gallery FILE")


def test_score_reads_no_pickle(folder):
    np.savez("points.npz", embeddings=np.array([{"a": 1}], dtype=object), labels=np.zeros(1, dtype=int))
    result = run("score", "points.npz")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("command", "asked"), [("score", 0), ("run", 1)])
def test_only_what_has_the_machine_to_itself_computes_on_all_cores(command, asked, monkeypatch):
    from lossbench import __main__ as program

    calls = []
    monkeypatch.setattr("sys.argv", ["lossbench", command])
    monkeypatch.setattr(program.interrupt, "install", lambda name: None)
    monkeypatch.setattr(program.threads, "use_one", lambda: calls.append(1))
    monkeypatch.setattr("lossbench.cli.main", lambda **_: None)
    program.main()
    assert len(calls) == asked

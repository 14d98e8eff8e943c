"""Sweeps: equal budgets, resuming by replay, sharing, dying workers."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import Future
from pathlib import Path

import optuna
import pytest

from experiments import ABLATION, TINY, Quiet, StoppingExecutor, sweep, tiny_plan
from lossbench import load_results
from lossbench.executors import interrupt
from lossbench.executors.processes import ProcessExecutor, SerialExecutor, WorkerDiedError
from lossbench.plugins.mistakes import SpecError
from lossbench.store import Store
from lossbench.sweep import dry_run, estimate, launch
from lossbench.sweep.plan_file import planned_before, stale_reasons
from lossbench.sweep.study import Study
from lossbench.sweep.sweep import Sweep

FAST = (
    "training.epochs=2",
    "budget.studies=2",
    "budget.trials=3",
    "budget.longer=1",
    'recipes=["softmax", "softmax+center"]',
)
ROWS = 2 * (2 * (3 + 2 + 2 + 2) + 2) + 4 + 1  # trials, candidates, default and final runs; untrained; longer, pixels


def figures(store, plan):
    """The results table without what it cost."""
    table = store.table(store.read_plan(plan.experiment.name))
    return table.drop(columns=[name for name in table if name.startswith("cost.")])


class FailingExecutor(SerialExecutor):
    """Loses the worker of the first `deaths` calls of every run."""

    def __init__(self, deaths: int) -> None:
        self.deaths, self.calls = deaths, {}

    def submit(self, fn, spec):
        self.calls[spec.run_id] = self.calls.get(spec.run_id, 0) + 1
        if self.calls[spec.run_id] <= self.deaths:
            future: Future = Future()
            future.set_exception(WorkerDiedError("its worker died (exit code -9)"))
            return future
        return super().submit(fn, spec)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = tiny_plan(*FAST)
    store, progress = sweep(plan, tmp_path_factory.mktemp("runs"), exported=True)
    return plan, store, progress


def test_every_planned_row_is_there_once(finished):
    plan, store, progress = finished
    table = figures(store, plan)
    assert len(table) == ROWS == progress.total
    assert set(table["status"]) == {"ok"}
    counts = table.groupby(["study", "recipe", "role"]).size()
    for recipe in ("softmax", "softmax+center"):
        everywhere = {"trial": 3, "candidate": 2, "default": 2, "final": 2}
        assert counts[1, recipe].to_dict() == {**everywhere, "longer": 2}
        assert counts[2, recipe].to_dict() == everywhere
    assert counts[1, "pixels"].to_dict() == {"baseline": 1}
    assert (2, "pixels", "baseline") not in counts
    assert counts[1, "untrained"].to_dict() == counts[2, "untrained"].to_dict() == {"baseline": 2}


def test_trials_are_sealed_from_test_and_final_seeds_are_fresh(finished):
    plan, store, _ = finished
    table = figures(store, plan)
    searched = table["role"].isin(["trial", "candidate"])
    assert table[searched].filter(like="test.").isna().all(axis=None)
    seeds = {role: {spec_of(store, run_id)["seed"] for run_id in table.loc[table["role"] == role, "run_id"]}
             for role in ("trial", "candidate", "final")}  # fmt: skip
    assert seeds["trial"].isdisjoint(seeds["candidate"] | seeds["final"])
    assert seeds["candidate"].isdisjoint(seeds["final"])
    assert len(seeds["trial"]) == len(seeds["candidate"]) == 4, "one of each study and recipe"
    assert len(seeds["final"]) == 4, "two of each study, the same for both recipes"


def spec_of(store, run_id):
    return store.read(run_id)["spec"]


def test_every_study_deals_its_own_split_and_all_its_runs_share_it(finished):
    plan, store, _ = finished
    table = figures(store, plan)
    table = table[table["recipe"] != "pixels"]
    deals = {
        study: {spec_of(store, run_id)["deal"] for run_id in rows["run_id"]} for study, rows in table.groupby("study")
    }
    assert all(len(found) == 1 for found in deals.values())
    assert len(set.union(*deals.values())) == 2
    fixed = tiny_plan(*FAST, 'tasks=[{dataset="digits", protocol="closed-set", splits="fixed"}]')
    assert Study(fixed, fixed.experiment.tasks[0], 1).deal is None


def test_the_first_final_run_of_a_study_measures_everything_and_only_the_first_of_all_is_audited(finished):
    plan, store, _ = finished
    table = figures(store, plan)
    for study, rows in table[table["role"] == "final"].groupby("study"):
        for _, row in rows.iterrows():
            spec = spec_of(store, row["run_id"])
            assert spec["whole"] == (row["seed"] == 1)
            assert spec["audit"] == (row["seed"] == study == 1)
    assert not any(spec_of(store, run_id)["whole"] for run_id in table.loc[table["role"] == "longer", "run_id"])


def test_longer_runs_are_the_first_final_ones_with_twice_the_epochs(finished):
    plan, store, _ = finished
    table = figures(store, plan)
    for recipe in ("softmax", "softmax+center"):
        rows = table[(table["recipe"] == recipe) & (table["study"] == 1)]
        for number in (1, 2):
            runs = rows[rows["seed"] == number].set_index("role")["run_id"]
            longer, final = spec_of(store, runs["longer"]), spec_of(store, runs["final"])
            assert longer["training"]["epochs"] == 2 * final["training"]["epochs"]
            assert {name: longer[name] for name in ("terms", "lr", "seed", "deal")} == {
                name: final[name] for name in ("terms", "lr", "seed", "deal")
            }


def test_trial_zero_is_the_default_and_fresh_seeds_alone_choose_among_the_best(finished):
    plan, store, _ = finished
    table = figures(store, plan)
    for recipe, study in itertools.product(plan.recipes, (1, 2)):
        rows = table[(table["recipe"] == recipe.name) & (table["study"] == study)]
        trials = rows[rows["role"] == "trial"].set_index("trial")
        for name, value in recipe.defaults.items():
            assert trials.loc[0, f"param.{name}"] == value
            assert set(rows[rows["role"] == "default"][f"param.{name}"]) == {value}
        best = trials["val.sphere.map_at_r"].drop(0).idxmax()
        again = rows[rows["role"] == "candidate"].groupby("trial")["val.sphere.map_at_r"].mean()
        assert set(again.index) == {0, best}
        finals = rows[rows["role"] == "final"]
        assert set(finals["trial"]) == {again.idxmax()}
        assert set(finals["param.lr"]) == {trials.loc[again.idxmax(), "param.lr"]}


def test_running_again_runs_nothing(finished):
    plan, store, _ = finished
    again, progress = sweep(plan, store.root, FailingExecutor(deaths=99))
    assert progress.executed == 0
    assert progress.reused == ROWS
    assert figures(again, plan).equals(figures(store, plan))


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4, 9])
def test_going_on_after_an_interruption_gives_the_undisturbed_results(finished, tmp_path, after):
    plan, undisturbed, _ = finished
    with pytest.raises(KeyboardInterrupt):
        sweep(plan, tmp_path, StoppingExecutor(after))
    store, progress = sweep(plan, tmp_path)
    assert progress.reused >= after - 1
    assert figures(store, plan).equals(figures(undisturbed, plan))


@pytest.mark.slow
def test_worker_processes_give_the_bits_of_the_serial_run(finished, tmp_path):
    plan, serial, _ = finished
    executor = ProcessExecutor(2)
    try:
        store, _ = sweep(plan, tmp_path, executor)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    assert figures(store, plan).equals(figures(serial, plan))


def test_a_run_whose_worker_dies_is_tried_again_and_given_up_after_three_times(tmp_path):
    plan = tiny_plan("training.epochs=1", "budget.trials=1", "budget.seeds=1", 'recipes=["softmax"]')
    _, progress = sweep(plan, tmp_path / "twice", FailingExecutor(deaths=2))
    assert any("attempt 2 of 3" in message for message in progress.messages)
    store, _ = sweep(plan, tmp_path / "always", FailingExecutor(deaths=3))
    table = figures(store, plan)
    assert set(table["status"]) == {"failed"}
    again, progress = sweep(plan, tmp_path / "always", retry_failed=True)
    assert set(figures(again, plan)["status"]) == {"ok"}


def test_a_failed_trial_counts_and_the_rest_goes_on(tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from lossbench import loss\n@loss('broken')\ndef broken(problem):\n    raise RuntimeError('no such luck')\n"
    )
    plan = tiny_plan("training.epochs=1", "budget.seeds=1", 'recipes=["broken", "softmax"]', plugins=(plugin,))
    store, _ = sweep(plan, tmp_path / "runs")
    table = figures(store, plan).set_index("recipe")
    assert set(table.loc["broken", "status"]) == {"failed"}
    assert set(table.loc["softmax", "status"]) == {"ok"}
    record = store.read(table.loc["broken", "run_id"].iloc[0])
    assert record["error"] == "RuntimeError: no such luck"


def test_a_recipe_with_nothing_to_tune_has_no_trials_and_shares_its_runs(tmp_path):
    plan = tiny_plan('recipes=["softmax", "triplet"]', "params.softmax.lr=0.002", "training.epochs=1")
    text = dry_run.describe(plan, Store(tmp_path), 1)
    assert "recipe softmax: uniform batches; tunes nothing\n" in text
    assert "recipe triplet: balanced batches; tunes lr, margin in 2 trials a study\n" in text
    store, _ = sweep(plan, tmp_path)
    everything = figures(store, plan)
    assert f"\n{len(everything)} planned runs" in text
    table = everything[everything["recipe"] == "softmax"]
    assert set(table["role"]) == {"final", "default"}
    finals, defaults = table[table["role"] == "final"], table[table["role"] == "default"]
    assert list(finals["run_id"]) == list(defaults["run_id"])
    assert set(table["param.lr"]) == {0.002}
    assert {each["recipe"] for each in store.read_plan(plan.experiment.name)["choices"]} == {"triplet"}


def test_where_nothing_is_tuned_a_dry_run_speaks_of_no_trials(tmp_path):
    plan = tiny_plan('recipes=["softmax"]', "params.softmax.lr=0.002", "budget.longer=0", "budget.studies=3")
    text = dry_run.describe(plan, Store(tmp_path), 1)
    assert "\n  3 studies; of each recipe in a study 2 final runs\n" in text


def test_experiments_share_runs(finished, tmp_path):
    plan, kept, _ = finished
    store = Store(Path(shutil.copytree(kept.root, tmp_path / "runs")))
    other = tiny_plan(*FAST, "name=other", "budget.seeds=3")
    _, progress = sweep(other, store.root)
    shared = chose_the_default(store, plan)
    assert progress.executed == 2 * (2 * 2 + 1) - shared  # one more seed, default and tuned, and one untrained network


def chose_the_default(store, plan):
    """How often the default was chosen: of its final runs all but the first, which measures more, are the same."""
    table = figures(store, plan)
    finals = table[(table["role"] == "final") & (table["seed"] == 2)]
    return int((finals["trial"] == 0).sum())


@pytest.mark.slow
def test_more_studies_repeat_no_run(finished, tmp_path):
    plan, kept, _ = finished
    store = Store(Path(shutil.copytree(kept.root, tmp_path / "runs")))
    _, progress = sweep(tiny_plan(*FAST, "budget.studies=3"), store.root)
    assert progress.reused >= ROWS
    assert progress.total == ROWS + 2 * (3 + 2 + 2) + 2  # the third has no default runs and no longer one
    assert {1, 2, 3} == set(figures(store, plan)["study"])


def test_another_master_seed_repeats_the_whole_work(finished):
    plan, _, _ = finished
    other = tiny_plan(*FAST, "seed=1")
    task, recipe = plan.experiment.tasks[0], plan.recipes[1]
    mine, theirs = Study(plan, task, 1), Study(other, task, 1)
    assert mine.deal != theirs.deal
    assert mine.search(recipe).ask()[1:] != theirs.search(recipe).ask()[1:]
    final = [study.final(recipe, recipe.defaults, 1, whole=True).seed for study in (mine, theirs)]
    assert final[0] != final[1]


def test_a_damaged_result_is_run_again(finished, tmp_path):
    plan = tiny_plan("training.epochs=1", "budget.trials=1", "budget.seeds=1", 'recipes=["softmax"]')
    store, _ = sweep(plan, tmp_path)
    reference = figures(store, plan)
    victim = store.folder(reference["run_id"].iloc[-1]) / "result.json"
    victim.write_text(victim.read_text().replace('"ok"', '"collapsed"'))
    other = store.folder(reference["run_id"].iloc[0]) / "result.json"
    other.write_bytes(other.read_bytes()[:100])
    again, progress = sweep(plan, tmp_path)
    assert progress.executed == 2
    assert figures(again, plan).equals(reference)


def test_results_of_other_code_are_named_and_not_used(finished, tmp_path, monkeypatch):
    _, kept, _ = finished
    store = Store(Path(shutil.copytree(kept.root, tmp_path / "runs")))
    monkeypatch.setattr("lossbench.specification.plan.code_digest", lambda plugins: "other")
    monkeypatch.setattr("lossbench.sweep.plan_file.code_digest", lambda plugins: "other")
    changed = tiny_plan(*FAST)
    assert changed.run_spec(
        changed.experiment.tasks[0], changed.recipes[0], changed.recipes[0].defaults, seed=1, final=True
    ).run_id not in {row["run_id"] for row in store.read_plan("ablation")["rows"]}
    stale = stale_reasons(changed, Store(store.root), planned_before(changed, store), [])
    assert stale
    assert set(map(tuple, stale.values())) == {("code",)}
    progress = Quiet()
    with pytest.raises(KeyboardInterrupt):
        Sweep(changed, Store(store.root), StoppingExecutor(0), progress).run()
    assert progress.messages == [f"{len(stale)} stored runs will be repeated: code changed"]


def test_the_studies_open_in_optuna(finished):
    plan, store, _ = finished
    path = store.root / "experiments" / "ablation.optuna.db"
    study = optuna.load_study(study_name="digits/closed-set, study 2, softmax+center", storage=f"sqlite:///{path}")
    assert len(study.trials) == 3
    table = figures(store, plan)
    rows = table[(table["recipe"] == "softmax+center") & (table["role"] == "trial") & (table["study"] == 2)]
    rows = rows.sort_values("trial")
    assert [trial.value for trial in study.trials] == list(rows["val.sphere.map_at_r"])


def test_load_results_reads_a_runs_folder(finished):
    _, store, _ = finished
    table = load_results(store.root)
    assert {"ablation"} <= set(table["experiment"])
    assert {"test.sphere.map_at_r", "test.euclidean.intra_inter_ratio", "cost.train_wall_s", "param.lambda"} <= set(
        table
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def wait_until(condition, seconds=300):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)


def test_a_killed_worker_concerns_its_own_call_only():
    executor = ProcessExecutor(2)
    try:
        other = executor.submit(os.getpid).result()
        dead = executor.submit(os._exit, 7)
        with pytest.raises(WorkerDiedError, match="exit code 7"):
            dead.result()
        pids = {executor.submit(os.getpid).result() for _ in range(6)}
        assert other in pids or len(pids) <= 2
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
    finally:
        executor.shutdown(wait=False)


def test_workers_end_with_their_driver():
    code = (
        "import time, os\nfrom lossbench.executors.processes import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessExecutor(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 600)\n"
        "    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(driver.stdout.readline())
    assert alive(worker)
    driver.kill()
    driver.wait()
    wait_until(lambda: not alive(worker))


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_going_on_loses_nothing(tmp_path):
    command = [sys.executable, "-m", "lossbench", "run", str(ABLATION), "--workers", "1"]
    command += ["--runs", str(tmp_path / "runs"), "--reports", str(tmp_path / "reports")]
    for value in (*TINY, 'recipes=["softmax"]', "training.epochs=5", "budget.seeds=6"):
        command += ["--set", value]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(list((tmp_path / "runs").glob("*/result.json"))) >= 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    before = {path: path.read_bytes() for path in (tmp_path / "runs").glob("*/result.json")}
    subprocess.run(command, check=True, capture_output=True)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert json.loads((tmp_path / "runs/experiments/ablation.json").read_text())["name"] == "ablation"


@pytest.mark.slow
def test_a_terminal_shows_a_board_and_is_given_back_on_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "lossbench", "run", str(ABLATION), "--workers", "1"]
    for value in (*TINY, 'recipes=["softmax"]', "training.epochs=5", "budget.seeds=6", "claims=[]"):
        command += ["--set", value]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"highest mean MAP@R so far" not in shown or b"/23" not in shown:
        shown += os.read(ours, 4096)
    os.write(ours, b"\x03")
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the terminal closes with the last process on it
            break
    assert process.wait() == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back
    assert shown.decode().rstrip().endswith(interrupt.LINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["run", str(ABLATION), "--dry-run", "--plugin", "stop.py"], interrupt.LINE),
        (["list", "--plugin", "stop.py"], "Stopped."),
        (["check", "stop.py"], "Stopped."),
    ],
    ids=["run", "list", "check"],
)
def test_ctrl_c_while_it_plans_is_one_line_too(tmp_path, command, line):
    """Whatever code it meets: here a plugin file, which the parent's Ctrl-C reaches and which swallows exceptions."""
    plugin = tmp_path / "stop.py"
    plugin.write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(60)\n"
        "except BaseException:\n    pass\n"
    )
    command = [sys.executable, "-m", "lossbench", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{line}\n")
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = tiny_plan("training.epochs=10")
    text = dry_run.describe(plan, Store(tmp_path / "runs"), 2)
    assert "dealt anew by every study; 160 steps a run" in text
    assert f"{estimate.survey(plan, Store(tmp_path / 'runs')).planned.total()} planned runs, 0 of them done" in text
    assert "on 2 workers" in text
    assert "warning" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_warns_of_too_few_steps(tmp_path):
    text = dry_run.describe(tiny_plan("training.epochs=1"), Store(tmp_path / "runs"), 2)
    assert "warning: digits/closed-set: 16 steps a run hardly train a network; --set training.epochs=7" in text
    assert "warning" not in dry_run.describe(tiny_plan("training.epochs=7"), Store(tmp_path / "runs"), 2)


def test_a_dry_run_counts_what_is_stored_of_this_very_plan(finished):
    plan, store, _ = finished
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    text = dry_run.describe(plan, Store(store.root), 1)
    assert f"{ROWS} planned runs, {ROWS} of them done\nabout 0 s on 1 worker" in text
    more = tiny_plan(*FAST, "budget.seeds=3")
    assert f"{ROWS + 10} planned runs, {ROWS} of them done" in dry_run.describe(more, Store(store.root), 1)
    other = tiny_plan(*FAST, "training.epochs=3")  # only the baselines, which are not trained, are the same
    assert f"{ROWS} planned runs, 5 of them done" in dry_run.describe(other, Store(store.root), 1)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_a_dry_run_of_a_race_says_the_fewest_runs_and_the_most(tmp_path):
    studies = tiny_plan("budget.studies=5"), tiny_plan("budget.studies=5", "budget.racing=true")
    fixed, racing = (dry_run.describe(plan, Store(tmp_path / "runs"), 1) for plan in studies)
    (most,) = re.findall(r"^(\d+) planned runs", fixed, re.MULTILINE)
    (least,) = re.findall(rf"^(\d+) to {most} planned runs, 0 of them done$", racing, re.MULTILINE)
    assert int(least) < int(most)
    assert re.search(r"^about .+ to .+ on 1 worker$", racing, re.MULTILINE)


def test_the_estimate_follows_images_and_stored_times(finished):
    plan, store, _ = finished
    task = plan.experiment.tasks[0]
    assert estimate.guess(plan, (task, "trials")) < estimate.guess(plan, (task, "finals"))
    assert estimate.guess(plan, (task, "finals")) < estimate.guess(plan, (task, "longer"))
    larger = tiny_plan(*FAST, "training.epochs=30")
    assert estimate.guess(larger, (task, "trials")) > 5 * estimate.guess(plan, (task, "trials"))
    found = estimate.survey(plan, Store(store.root)).found
    finals = [seconds for job, seconds in found if job.role in ("final", "default")]
    looked = estimate.survey(tiny_plan(*FAST, "budget.seeds=3"), Store(store.root))
    assert estimate.seconds_left(looked, looked.planned) == pytest.approx(10 * sum(finals) / len(finals))


def test_shipped_experiments_are_found_by_name():
    assert launch.find_experiment(Path("ablation")).name == "ablation.toml"
    with pytest.raises(SpecError, match="did you mean 'ablation'"):
        launch.find_experiment(Path("ablatoin"))

"""Experiments whose machine, plugins or operators misbehave: nothing that had finished is lost or repeated."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import ABLATION, DIGITS
from lossbench import load_results

SMALL = (DIGITS, "training.epochs=1", "budget.studies=2", "budget.longer=0", "budget.trials=4", "budget.seeds=2",
         "embedding_dim=4")  # fmt: skip
RECIPES = 'recipes=["softmax", "softmax+center"]'
ONE = (*SMALL, "budget.trials=1", "budget.seeds=1")
LIMIT_S = 900


def command(folder: Path, *overrides: str, workers: int = 2, plugins: tuple[Path, ...] = ()) -> list[str]:
    arguments = [sys.executable, "-m", "lossbench", "run", str(ABLATION), "--workers", str(workers)]
    arguments += ["--runs", str(folder / "runs"), "--reports", str(folder / "reports")]
    arguments += [part for path in plugins for part in ("--plugin", str(path))]
    return arguments + [part for value in overrides for part in ("--set", value)]


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, **options), capture_output=True, text=True, timeout=LIMIT_S)


def figures(folder: Path):
    table = load_results(folder / "reports" / "ablation")
    return table.drop(columns=[name for name in table if name.startswith("cost.")])


def results(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "runs").glob("*/result.json")}


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        found = [
            int(number)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for number in (task / "children").read_text().split()
        ]
        return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return []


FAULTS = {  # what the loss does, and what is stored of its runs
    "exits": ("os._exit(5)", ("its worker died (exit code 5)", ", 3 times")),
    "is-killed": ("os.kill(os.getpid(), signal.SIGKILL)", ("its worker died (killed by signal 9)", ", 3 times")),
    "allocates": ("torch.empty(1 << 60)", ("RuntimeError: ",)),
    "raises": ("raise ValueError('no')", ("ValueError: no",)),
    "hangs": ("time.sleep(10**6)", ("its worker was killed (training.time_limit_s)",)),
    "prints": ("print('x' * 1_000_000)", ()),
}
LOSS = """
class {kind}(nn.Module):
    def forward(self, embeddings, labels):
        {body}
        return embeddings.square().mean()


@loss("{name}")
def build_{kind}(problem):
    return {kind}()
"""


@pytest.mark.slow
def test_killed_at_twenty_random_moments_an_experiment_ends_as_if_undisturbed(tmp_path):
    """kill -9 of the driver or of a worker; what was stored stays to the byte, what was not comes again."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    settings = (*SMALL, RECIPES, "budget.trials=8", "budget.seeds=6")
    assert run(undisturbed, *settings, workers=0).returncode == 0
    draw, kills = random.Random(0), 0
    kept: dict[Path, bytes] = {}
    while True:
        process = subprocess.Popen(command(disturbed, *settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and kills < 20:
            seen, more = len(results(disturbed)), 1 + draw.randrange(2)
            limit = time.monotonic() + LIMIT_S
            while len(results(disturbed)) < seen + more and process.poll() is None:
                assert time.monotonic() < limit, "no more results"
                time.sleep(0.02)
            time.sleep(draw.random() * 0.3)
            workers = children(process.pid)
            victim = draw.choice([process.pid, *workers, *workers])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
        process.wait(timeout=LIMIT_S)
        now = results(disturbed)
        assert all(now[path] == content for path, content in kept.items())
        kept = now
        if process.returncode == 0:
            break
    assert kills >= 10  # the last ones may have met an experiment that was done
    # A run that chance killed three times has failed.
    retry = [*command(disturbed, *settings, workers=0), "--retry-failed"]
    subprocess.run(retry, check=True, capture_output=True, timeout=LIMIT_S)
    assert figures(disturbed).equals(figures(undisturbed))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """An experiment with a loss of every fault beside `softmax`, and what it said; its limits are shorter than ours."""
    folder = tmp_path_factory.mktemp("faulty")
    text = "import os, signal, time\nimport torch\nfrom torch import nn\nfrom lossbench import loss\n"
    for number, (name, (body, _)) in enumerate(FAULTS.items()):
        text += LOSS.format(kind=f"Fault{number}", name=name, body=body)
    (folder / "faults.py").write_text(text)
    settings = (*ONE, "budget.studies=1", f"recipes={json.dumps([*FAULTS, 'softmax'])}", "baselines=[]",
                "training.time_limit_s=15")  # fmt: skip
    limits = "from lossbench.sweep import launch, trying; trying.CHECK_LIMIT_S, launch.GRACE_S = 10.0, 5.0"
    start = f"{limits}; from lossbench.__main__ import main; main()"
    _, _, _, *arguments = command(folder, *settings, plugins=(folder / "faults.py",))
    done = subprocess.run([sys.executable, "-c", start, *arguments], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return folder, done, load_results(folder / "runs").set_index("recipe")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["exits", "is-killed", "allocates", "raises", "hangs"])
def test_a_faulty_loss_costs_its_own_runs_only(faulty, fault):
    folder, _, table = faulty
    assert set(table.loc[fault, "status"]) == {"failed"}
    assert set(table.loc["softmax", "status"]) == {"ok"}
    for run_id in set(table.loc[fault, "run_id"]):
        stored = (folder / "runs" / run_id / "result.json").read_text()
        assert [part for part in FAULTS[fault][1] if part not in stored] == []


@pytest.mark.slow
def test_a_loss_that_prints_megabytes_leaves_a_bounded_log(faulty):
    folder, done, table = faulty
    assert "failed" not in set(table.loc["prints", "status"])
    assert len(done.stdout) + len(done.stderr) < 20_000
    assert 0 < sum(path.stat().st_size for path in (folder / "runs" / "logs").iterdir()) < 10 << 20


@pytest.mark.slow
def test_sigterm_stops_in_one_line_and_the_same_command_goes_on(tmp_path):
    settings = (*SMALL, RECIPES)
    process = subprocess.Popen(command(tmp_path, *settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + LIMIT_S
    while not results(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143
    assert errors.strip() == "Stopped. What had finished is kept; the same command goes on from there."
    before = results(tmp_path)
    assert run(tmp_path, *settings, workers=0).returncode == 0
    assert all(results(tmp_path)[path] == content for path, content in before.items())


@contextlib.contextmanager
def disk(folder: Path, options: str):
    """A small file system, or a reason to skip."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_nothing_half_written_counts(tmp_path):
    settings = (*SMALL, RECIPES)
    with disk(tmp_path / "runs", "size=200k"):
        done = run(tmp_path, *settings)
        assert done.returncode == 2
        assert "no space left on device" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        before = results(tmp_path)
        shutil.copytree(tmp_path / "runs", tmp_path / "larger" / "runs")
    assert run(tmp_path / "larger", *settings, workers=0).returncode == 0
    after = {path.relative_to(tmp_path / "larger"): content for path, content in results(tmp_path / "larger").items()}
    assert all(after[path.relative_to(tmp_path)] == content for path, content in before.items())


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_one_line_too(tmp_path):
    done = subprocess.run(
        command(tmp_path, *ONE, 'recipes=["softmax"]', workers=0),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2
    assert "file too large" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert results(tmp_path) == {}


def test_a_runs_folder_that_cannot_be_written_is_named_before_anything_runs(tmp_path):
    if os.getuid() == 0:  # modes do not bind root
        with disk(tmp_path / "runs", "ro"):
            done = run(tmp_path, *ONE)
    else:
        (tmp_path / "runs").mkdir(mode=0o555)
        done = run(tmp_path, *ONE)
    assert done.returncode == 2
    reason = "read-only file system" if os.getuid() == 0 else "permission denied"
    assert done.stderr == f"lossbench: error: {tmp_path / 'runs'}: cannot be written: {reason}\n"
    assert not (tmp_path / "reports").exists()

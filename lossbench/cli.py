"""The command line: arguments in, calls out. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lossbench import __version__


def path_option(*names: str, **settings: Any) -> Callable[..., Any]:
    """An option that is a path."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


RUNS = path_option("--runs", default=Path("runs"), show_default=True, help="Where results are stored.")
REPORTS = path_option("--reports", default=Path("reports"), show_default=True, help="Where reports are written.")
PLUGINS = path_option("--plugin", "plugins", multiple=True, help="A plugin file; repeatable.")
SETTINGS = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a value of the file; repeatable."
)


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the user's mistakes into `lossbench: error: ...` and exit status 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from lossbench.plugins import PluginError
        from lossbench.plugins.mistakes import SpecError

        warnings.formatwarning = lambda message, *_, **__: f"lossbench: warning: {message}\n"
        try:
            return command(*args, **kwargs)
        except SpecError as error:
            fail(*error.mistakes)
        except (PluginError, ValueError, OSError) as error:
            if os.environ.get("LOSSBENCH_TRACEBACK"):
                raise
            fail(describe_error(error))

    return wrapped


def describe_error(error: Exception) -> str:
    """One line; the system's own errors with the file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def fail(*mistakes: str) -> None:
    """Print one line a mistake and leave with status 2."""
    for mistake in mistakes if os.environ.get("RANK", "0") == "0" else ():  # under torchrun, once
        click.echo(f"lossbench: error: {mistake}", err=True)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lossbench")
def main() -> None:
    """Fair, tuned, paired comparisons of metric-learning losses."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@SETTINGS
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=None,
    help="Worker processes; 0 runs in this one. Default: one a core.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run on the nodes of this dask scheduler (tcp://HOST:8786); local:N starts N nodes here.",
)
@PLUGINS
@click.option("--dry-run", is_flag=True, help="Show the plan and its estimated time; run nothing.")
@click.option("--retry-failed", is_flag=True, help="Run again what is stored as failed.")
@RUNS
@REPORTS
@one_line_errors
def run(
    file: Path,
    overrides: tuple[str, ...],
    workers: int | None,
    cluster: str | None,
    plugins: tuple[Path, ...],
    dry_run: bool,
    retry_failed: bool,
    runs: Path,
    reports: Path,
) -> None:
    """Run what is missing of an experiment, then write its report."""
    from lossbench.store import Store
    from lossbench.sweep import launch, ranks

    plan = launch.prepare(file, overrides, plugins)
    store = Store(runs)
    if dry_run:
        click.echo(launch.describe(plan, store, workers))
        return
    ranks.check(plan.experiment.training)
    if not ranks.is_first():
        ranks.serve(plan.experiment.training)
        return
    if cluster is not None and workers is not None:
        fail("--cluster: the nodes decide how many workers there are; leave --workers out")
    launch.try_losses(plan)
    launch.check_writable(runs, reports)
    launch.run(plan, store, workers=workers, cluster=cluster, retry_failed=retry_failed)
    write_report(plan.experiment.name, runs, reports)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@one_line_errors
def status(folder: Path) -> None:
    """Say how far the experiments of a runs FOLDER are and who works on them."""
    from lossbench.sweep.status import status as lines_of

    for line in lines_of(folder):
        click.echo(line)


@main.command()
@click.argument("run_id")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), help="Largest difference, of a figure's size.  [default: 0.01]"
)
@RUNS
@one_line_errors
def replay(run_id: str, tolerance: float | None, runs: Path) -> None:
    """Repeat a stored run and compare its figures; exit status 1 where they do not agree."""
    from lossbench.sweep import launch

    found = launch.replay(runs, run_id, tolerance)
    for line in found.lines():
        click.echo(line)
    if not found.agrees:
        sys.exit(1)


@main.command()
@click.argument("name")
@click.option("--watch", is_flag=True, help="Write it again whenever runs have come in, until all are there.")
@RUNS
@REPORTS
@one_line_errors
def report(name: str, watch: bool, runs: Path, reports: Path) -> None:
    """Write the report of an experiment from its stored runs, complete or not."""
    if not watch:
        write_report(name, runs, reports)
        return
    from lossbench.report import watch as keep_current

    for line in keep_current(name, runs, reports):
        click.echo(line)


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@one_line_errors
def diff(first: Path, second: Path) -> None:
    """What changed from FIRST to SECOND, each a report or a runs folder: settings, and results with intervals."""
    from lossbench.report.differing import diff as lines

    for line in lines(first, second):
        click.echo(line)


@main.command()
@click.argument("name")
@click.option("--task", help="One task only; default: every task.")
@click.option("--recipe", help="This recipe instead of the winner.")
@path_option("--out", default=Path("exports"), show_default=True, help="Where the files go.")
@RUNS
@one_line_errors
def export(name: str, task: str | None, recipe: str | None, out: Path, runs: Path) -> None:
    """Write embeddings and network of the winner of an experiment, its run with the median score."""
    from lossbench.report.exporting import export as lines

    for line in lines(name, runs, out, task=task, recipe=recipe):
        click.echo(line)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@SETTINGS
@PLUGINS
@RUNS
@REPORTS
@one_line_errors
def probe(file: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...], runs: Path, reports: Path) -> None:
    """Measure what a step of each recipe of a finished experiment costs, and how its losses scale."""
    from lossbench.store import Store
    from lossbench.sweep import launch

    plan = launch.prepare(file, overrides, plugins)
    launch.probe(plan, Store(runs))
    write_report(plan.experiment.name, runs, reports)


def write_report(name: str, runs: Path, reports: Path) -> None:
    """Write the report and print its verdicts; the last line names the page."""
    from lossbench.report import write

    for line in write(name, runs, reports):
        click.echo(line)


@main.command("list")
@click.argument("kind", type=click.Choice(["losses", "datasets", "backbones", "metrics"]), required=False)
@PLUGINS
@one_line_errors
def list_(kind: str | None, plugins: tuple[Path, ...]) -> None:
    """Show what can be named in an experiment."""
    from lossbench.plugins import FOLDERS, KINDS, registry

    registry.load_files(plugins)
    for each in KINDS:
        if kind not in (None, FOLDERS[each]):
            continue
        click.echo(f"{FOLDERS[each]}:")
        for name in registry.names(each):
            click.echo(f"  {name:<22} {registry.find(each, name).summary}")


@main.command("new-loss")
@click.argument("name")
@path_option("--folder", default=Path(), show_default="here", help="Where to write the two files.")
@one_line_errors
def new_loss(name: str, folder: Path) -> None:
    """Write a plugin file for a loss of that name, which works as it is, and its test."""
    from lossbench.plugins import scaffold

    plugin, test = scaffold.new_loss(name, folder)
    click.echo(f"{plugin}\n{test}")
    click.echo(f"next: lossbench check {plugin}; python -m pytest {test}")
    click.echo(f'then: lossbench run ablation --plugin {plugin} --set name=try --set \'recipes=["softmax", "{name}"]\'')


@main.command()
@click.argument("names", metavar="FILE_OR_NAME...", nargs=-1, required=True)
@one_line_errors
def check(names: tuple[str, ...]) -> None:
    """Run the conformance suite on losses: plugin files or names; exit status 1 where one fails."""
    from lossbench.plugins.conformance import check_loss, losses_of, table

    failures = []
    for plugin in [plugin for name in names for plugin in losses_of(name)]:
        findings = check_loss(plugin)
        click.echo(table(plugin, findings))
        place = f"plugin {plugin.file}: loss {plugin.name!r}"
        failures += [f"{place}: {each.check}: {each.detail}" for each in findings if each.status == "FAIL"]
    for failure in failures:
        click.echo(f"lossbench: error: {failure}", err=True)
    if failures:
        sys.exit(1)


@main.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@path_option("--reports", help="Write a report of them there; NAME.SEED.npz is one seed of NAME.")
@one_line_errors
def score(files: tuple[Path, ...], reports: Path | None) -> None:
    """Statistics and metrics of embeddings from elsewhere: FILE.npz with `embeddings` (N, D), `labels` (N,)."""
    import tempfile

    from lossbench.run import scoring

    if reports is None:
        for file in files:
            if len(files) > 1:
                click.echo(f"{file}:")
            click.echo(scoring.score_file(file))
        return
    with tempfile.TemporaryDirectory() as runs:
        write_report(scoring.store_scores(files, Path(runs)), Path(runs), reports)


@main.group()
def data() -> None:
    """The data sets: what there is, fetching and checking it."""


@data.command("list")
@one_line_errors
def data_list() -> None:
    """Show every data set, whether it is there, and its source and licence."""
    from lossbench.datasets import fetch
    from lossbench.datasets.cache import data_folder

    click.echo(f"data folder: {data_folder()} (LOSSBENCH_DATA)")
    for row in fetch.list_data(data_folder()):
        click.echo(f"  {row.name:<14} {row.state:<11} {row.summary}")
        click.echo(f"  {'':<26} {'; '.join(filter(None, (row.source, row.license)))}")


@data.command("fetch")
@click.argument("name")
@one_line_errors
def data_fetch(name: str) -> None:
    """Download a data set, continuing a broken download, and check it."""
    from lossbench.datasets import fetch
    from lossbench.datasets.cache import data_folder
    from lossbench.sweep.progress import download_progress

    with download_progress() as progress:
        paths = fetch.fetch(name, data_folder(), progress=progress)
    for path in paths:
        click.echo(path)


@data.command("verify")
@click.argument("name")
@one_line_errors
def data_verify(name: str) -> None:
    """Check the files of a data set against the known checksums; exit status 1 where one is wrong."""
    from lossbench.datasets import fetch
    from lossbench.datasets.cache import data_folder

    findings = fetch.verify(name, data_folder())
    for finding in findings:
        click.echo(f"{'ok ' if finding.ok else 'BAD'} {finding.file}: {finding.message}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)

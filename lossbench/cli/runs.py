"""Commands that make runs, repeat them, unite them and say how far they are."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import click

from lossbench.cli.errors import fail, one_line_errors
from lossbench.cli.options import JSON, PLUGINS, REPORTS, RUNS, SETTINGS, echo_json, path_option, plain_flags
from lossbench.cli.reports import write_report


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@plain_flags
@SETTINGS
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=None,
    show_default="one a core",
    help="Use this many worker processes, with 0 none beside this one.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run on the nodes of this dask scheduler (tcp://HOST:8786), or on N nodes started here (local:N).",
)
@click.option("--share", metavar="K/N", help="Make part K of N of the studies only; `merge` unites the parts.")
@PLUGINS
@click.option("--dry-run", is_flag=True, help="Show the plan and its estimated time, and run nothing.")
@click.option("--retry-failed", is_flag=True, help="Run again what is stored as failed.")
@RUNS
@REPORTS
@one_line_errors
def run(
    file: Path,
    overrides: tuple[str, ...],
    workers: int | None,
    cluster: str | None,
    share: str | None,
    plugins: tuple[Path, ...],
    dry_run: bool,
    retry_failed: bool,
    runs: Path,
    reports: Path,
    **plain: Any,
) -> None:
    """Run what is missing of an experiment, then write its report."""
    from lossbench.specification import flags
    from lossbench.store import Store
    from lossbench.sweep import launch, ranks, trying
    from lossbench.sweep.dry_run import describe

    if given := flags.settings(**plain):
        overrides = (*given, *overrides)
        if ranks.is_first():
            click.echo(flags.shown(given))
    plan = launch.prepare(file, overrides, plugins)
    plan = plan if share is None else launch.shared(plan, share)
    store = Store(runs)
    if dry_run:
        for line in trying.try_network(plan):
            click.echo(line)
        click.echo(describe(plan, store, workers))
        return
    ranks.check(plan.experiment.training)
    if not ranks.is_first():
        ranks.serve(plan.experiment.training)
        return
    if cluster is not None and workers is not None:
        fail("--cluster: the nodes decide how many workers there are; leave --workers out")
    trying.try_losses(plan)
    for line in trying.try_network(plan):
        click.echo(line)
    launch.check_writable(runs, reports)
    launch.run(plan, store, workers=workers, cluster=cluster, retry_failed=retry_failed)
    write_report(plan.experiment.name, runs, reports)


@click.command()
@click.argument("data", metavar="PATH")
@click.option("--name", show_default="that of PATH", help="Name the experiment and its file.")
@one_line_errors
def start(data: str, name: str | None) -> None:
    """Look at your own data and write an experiment for it."""
    from lossbench.start import looking, writing
    from lossbench.store import Store
    from lossbench.sweep import launch
    from lossbench.sweep.dry_run import describe

    name = name or writing.name_for(data)
    file = Path(f"{name}.toml")
    if file.exists():
        fail(f"{file}: is there already; give another --name")
    found = looking.look(data)
    for line in (*looking.facts(found), "what can be asked:", *looking.questions(found)):
        click.echo(line)
    file.write_text(writing.experiment(found, name), encoding="utf-8")
    try:
        with warnings.catch_warnings(action="ignore"):  # said above
            plan = launch.prepare(file, (), ())
    except ValueError:
        file.unlink()
        raise
    click.echo(f"{file}:\n{describe(plan, Store(Path('runs')), None)}")
    click.echo(f"next: lossbench run {file} --quick --name {name}-quick, then lossbench run {file}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@SETTINGS
@PLUGINS
@RUNS
@REPORTS
@one_line_errors
def probe(file: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...], runs: Path, reports: Path) -> None:
    """Measure what a step of each recipe costs and how losses scale."""
    from lossbench.store import Store
    from lossbench.sweep import launch

    plan = launch.prepare(file, overrides, plugins)
    launch.probe(plan, Store(runs))
    write_report(plan.experiment.name, runs, reports)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@JSON
@one_line_errors
def status(folder: Path, as_json: bool) -> None:
    """Say how far the experiments of a runs folder are."""
    from lossbench.sweep import status as watching

    if as_json:
        echo_json(watching.look(folder))
        return
    for line in watching.status(folder):
        click.echo(line)


@click.command()
@click.argument("run_id", required=False)
@click.option("--sample", metavar="SHARE", help="Repeat this share of all stored runs instead, such as 5%.")
@click.option("--seed", default=0, show_default=True, help="Draw another sample.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    show_default="0.01",
    help="Allow this difference, as a share of a figure.",
)
@RUNS
@one_line_errors
def replay(run_id: str | None, sample: str | None, seed: int, tolerance: float | None, runs: Path) -> None:
    """Repeat a stored run or a sample of them, and compare figures."""
    from lossbench.sweep import launch

    if (run_id is None) == (sample is None):
        fail("replay: name a run, or say how many with --sample 5%")
    if sample is not None:
        audit = launch.audit(runs, sample, seed, tolerance)
        for line in audit.lines():
            click.echo(line)
        sys.exit(0 if audit.agrees else 1)
    found = launch.replay(runs, str(run_id), tolerance)
    for line in found.lines():
        click.echo(line)
    if not found.agrees:
        sys.exit(1)


@click.command()
@click.argument("folders", metavar="[NAME=]FOLDER...", nargs=-1, required=True)
@path_option("--into", required=True, help="The new runs folder.")
@one_line_errors
def merge(folders: tuple[str, ...], into: Path) -> None:
    """Unite the runs folders of several machines in a new one."""
    from lossbench.sweep import merging

    found = merging.merge([merging.Source.given(text) for text in folders], into)
    for line in found.lines():
        click.echo(line)
    if found.problems:
        sys.exit(1)

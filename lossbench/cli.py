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


KINDS = ("experiments", "recipes", "losses", "datasets", "backbones", "metrics")  # what `list` knows
RUNS = path_option("--runs", default=Path("runs"), show_default=True, help="Where results are stored.")
REPORTS = path_option("--reports", default=Path("reports"), show_default=True, help="Where reports are written.")
PLUGINS = path_option("--plugin", "plugins", multiple=True, help="Load a plugin file (repeatable).")
SETTINGS = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a value of the file (repeatable)."
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")

PLAIN = (
    click.option("--name", help="Give the experiment, its runs and its report another name."),
    click.option(
        "--data", metavar="PATH", help="Use this folder, table or features file as the only task, closed-set."
    ),
    click.option("--studies", type=int, help="Repeat the whole task so many times."),
    click.option("--epochs", type=int, help="Train for so many passes over the training split."),
    click.option("--recipes", metavar="A,B+C", help="Compare these recipes only."),
    click.option("--quick", is_flag=True, help="Train briefly on a small budget, to see whether everything works."),
)


def _numbers(context: click.Context, option: click.Parameter, given: str | None) -> tuple[float, ...] | None:
    """Numbers joined by commas."""
    if given is None:
        return None
    try:
        return tuple(float(each) for each in given.split(","))
    except ValueError:
        raise click.BadParameter(f"{given!r} is no list of numbers joined by commas") from None


def plain_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that stand for a `--set` each (`lossbench.specification.flags`)."""
    for option in reversed(PLAIN):
        command = option(command)
    return command


def echo_json(content: Any) -> None:
    """Print plain values for another program to read."""
    import json

    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


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
        except BrokenPipeError:  # whoever read along has seen enough, as `head` has; click ends silently
            raise
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
    """Compare metric-learning losses: fairly, tuned and paired."""


@main.command()
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
    from lossbench.sweep import launch, ranks

    if given := flags.settings(**plain):
        overrides = (*given, *overrides)
        if ranks.is_first():
            click.echo(flags.shown(given))
    plan = launch.prepare(file, overrides, plugins)
    plan = plan if share is None else launch.shared(plan, share)
    store = Store(runs)
    if dry_run:
        for line in launch.try_network(plan):
            click.echo(line)
        click.echo(launch.describe(plan, store, workers))
        return
    ranks.check(plan.experiment.training)
    if not ranks.is_first():
        ranks.serve(plan.experiment.training)
        return
    if cluster is not None and workers is not None:
        fail("--cluster: the nodes decide how many workers there are; leave --workers out")
    launch.try_losses(plan)
    for line in launch.try_network(plan):
        click.echo(line)
    launch.check_writable(runs, reports)
    launch.run(plan, store, workers=workers, cluster=cluster, retry_failed=retry_failed)
    write_report(plan.experiment.name, runs, reports)


@main.command()
@click.argument("data", metavar="PATH")
@click.option("--name", show_default="that of PATH", help="Name the experiment and its file.")
@one_line_errors
def start(data: str, name: str | None) -> None:
    """Look at your own data and write an experiment for it."""
    from lossbench.start import looking, writing
    from lossbench.store import Store
    from lossbench.sweep import launch

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
    click.echo(f"{file}:\n{launch.describe(plan, Store(Path('runs')), None)}")
    click.echo(f"next: lossbench run {file} --quick --name {name}-quick, then lossbench run {file}")


@main.command()
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


@main.command()
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
    """Repeat a stored run, or a sample of them, and compare the figures."""
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


@main.command()
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


@main.command()
@click.argument("name")
@click.option("--watch", is_flag=True, help="Write it again whenever runs have come in, until all are there.")
@RUNS
@REPORTS
@one_line_errors
def report(name: str, watch: bool, runs: Path, reports: Path) -> None:
    """Write the report of an experiment from its stored runs."""
    if not watch:
        write_report(name, runs, reports)
        return
    from lossbench.report import watch as keep_current

    for line in keep_current(name, runs, reports):
        click.echo(line)


@main.command()
@click.argument("folders", metavar="FOLDER...", type=click.Path(path_type=Path), nargs=-1, required=True)
@path_option("--into", default=Path("reports/board"), show_default=True, help="Where the page and its table go.")
@one_line_errors
def board(folders: tuple[Path, ...], into: Path) -> None:
    """Write one page of the results in many runs folders."""
    from lossbench.report.board import write

    for line in write(folders, into):
        click.echo(line)


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@one_line_errors
def diff(first: Path, second: Path) -> None:
    """Show what changed between two reports or runs folders."""
    from lossbench.report.differing import diff as lines

    for line in lines(first, second):
        click.echo(line)


@main.command()
@click.argument("name")
@click.option("--task", show_default="every task", help="Export one task only.")
@click.option("--recipe", show_default="the winner", help="Export this recipe.")
@path_option("--out", default=Path("exports"), show_default=True, help="Where the files go.")
@RUNS
@one_line_errors
def export(name: str, task: str | None, recipe: str | None, out: Path, runs: Path) -> None:
    """Write embeddings and network of the winner of an experiment."""
    from lossbench.report.exporting import export as written

    for exported in written(name, runs, out, task=task, recipe=recipe):
        click.echo(exported.line)
        if exported.has_network:
            from lossbench.run.exported import write_torchscript

            click.echo(f"  {write_torchscript(exported.folder)}")


@main.command()
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


def write_report(name: str, runs: Path, reports: Path) -> None:
    """Write the report and print its verdicts; the last line names the page."""
    from lossbench.report import write

    for line in write(name, runs, reports):
        click.echo(line)


@main.command("list")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@PLUGINS
@JSON
@one_line_errors
def list_(kind: str | None, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show what can be named in an experiment."""
    from lossbench.plugins import registry
    from lossbench.specification import listing

    registry.load_files(plugins)
    found = listing.listing(KINDS if kind is None else (kind,))
    if as_json:
        echo_json(found)
        return
    for line in listing.lines(found):
        click.echo(line)


@main.command("new-loss")
@click.argument("name")
@path_option("--folder", default=Path(), show_default="here", help="Where to write the two files.")
@one_line_errors
def new_loss(name: str, folder: Path) -> None:
    """Write a plugin file for a new loss, and its test."""
    from lossbench.plugins import scaffold

    plugin, test = scaffold.new_loss(name, folder)
    click.echo(f"{plugin}\n{test}")
    click.echo(f"next: your formula and its source, then lossbench check {plugin}; python -m pytest {test}")
    click.echo(f'then: lossbench run ablation --plugin {plugin} --set name=try --set \'recipes=["softmax", "{name}"]\'')


@main.command()
@click.argument("names", metavar="FILE_OR_NAME...", nargs=-1, required=True)
@one_line_errors
def check(names: tuple[str, ...]) -> None:
    """Try losses on hard batches and in a short training."""
    from lossbench.plugins import conformance
    from lossbench.plugins.checks import CHECKS, TRAINING
    from lossbench.run import trial

    failures = []
    for plugin in [plugin for name in names for plugin in conformance.losses_of(name)]:
        click.echo(conformance.heading(plugin))
        place = f"plugin {plugin.file}: loss {plugin.name!r}"
        for finding in conformance.check_loss(plugin, {**CHECKS, TRAINING: trial.training}):
            click.echo(conformance.line(finding))
            failures += [f"{place}: {finding.check}: {finding.detail}"] if finding.status == "FAIL" else []
    for failure in failures:
        click.echo(f"lossbench: error: {failure}", err=True)
    if failures:
        sys.exit(1)


@main.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1)
@path_option("--reports", help="Write a report there, in which NAME.SEED.npz is one seed of NAME.")
@path_option("--query", help="Score the queries of this file against --gallery.")
@path_option("--gallery", help="The gallery that --query is searched in.")
@one_line_errors
def score(files: tuple[Path, ...], reports: Path | None, query: Path | None, gallery: Path | None) -> None:
    """Score embeddings from elsewhere, as FILE.npz holds them."""
    import tempfile

    from lossbench.run import scoring

    if query and gallery and not (files or reports):
        click.echo(scoring.score_against(query, gallery))
        return
    if query or gallery or not files:
        fail("score: give files, or --query FILE with --gallery FILE (for a report, one file with an array `role`)")
    if reports is None:
        for file in files:
            if len(files) > 1:
                click.echo(f"{file}:")
            click.echo(scoring.score_file(file))
        return
    with tempfile.TemporaryDirectory() as runs:
        write_report(scoring.store_scores(files, Path(runs)), Path(runs), reports)


@main.command()
@click.argument("source")
@click.option(
    "--model",
    required=True,
    metavar="M",
    help="Use timm:NAME, torchvision:NAME, an exported folder, a backbone, or a file.",
)
@path_option("--out", required=True, help="Write the features to this .npz; a killed call goes on with it.")
@path_option("--weights", help="Take the model's weights from this file, .safetensors or .pt.")
@click.option(
    "--size", type=click.IntRange(min=1), show_default="the model's own", help="Scale pictures to this edge in pixels."
)
@click.option(
    "--fit",
    type=click.Choice(("crop", "pad", "stretch")),
    default="crop",
    show_default=True,
    help="Make pictures square by this rule.",
)
@click.option(
    "--mean", metavar="R,G,B", callback=_numbers, show_default="the model's own", help="Subtract this, of values to 1."
)
@click.option("--std", metavar="R,G,B", callback=_numbers, show_default="the model's own", help="Divide by this then.")
@click.option("--dim", type=click.IntRange(min=1), show_default="32", help="Build a backbone of this dimension.")
@click.option("--protocol", show_default="the data set's first", help="Keep the split of this protocol.")
@click.option("--batch-size", type=click.IntRange(min=1), show_default="by memory", help="Embed so many at once.")
@click.option(
    "--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Compute on this device."
)
@PLUGINS
@one_line_errors
def embed(source: str, model: str, out: Path, plugins: tuple[Path, ...], **options: Any) -> None:
    """Turn pictures into features by a model of your own."""
    from lossbench.plugins import registry
    from lossbench.run import embedding
    from lossbench.sweep.progress import rows_progress

    registry.load_files(plugins)
    with rows_progress() as progress:
        rows, width = embedding.embed(source, model, out, progress=progress, **options)
    click.echo(f"{out}: {rows:,} x {width}; use it as features:{out}")


@main.group()
def data() -> None:
    """Show, fetch and check data sets."""


@data.command("list")
@one_line_errors
def data_list() -> None:
    """Show every data set, whether it is there, and its source."""
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
    """Download a data set, or the rest of it, and check it."""
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
    """Check the files of a data set against known checksums."""
    from lossbench.datasets import fetch
    from lossbench.datasets.cache import data_folder

    findings = fetch.verify(name, data_folder())
    for finding in findings:
        click.echo(f"{'ok ' if finding.ok else 'BAD'} {finding.file}: {finding.message}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)

"""Commands that show stored runs: a report, a board, what changed, the winner's files."""

from __future__ import annotations

from pathlib import Path

import click

from lossbench.cli.errors import one_line_errors
from lossbench.cli.options import REPORTS, RUNS, path_option


@click.command()
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


def write_report(name: str, runs: Path, reports: Path) -> None:
    """Write the report and print its verdicts; the last line names the page."""
    from lossbench.report import write

    for line in write(name, runs, reports):
        click.echo(line)


@click.command()
@click.argument("folders", metavar="FOLDER...", type=click.Path(path_type=Path), nargs=-1, required=True)
@path_option("--into", default=Path("reports/board"), show_default=True, help="Where the page and its table go.")
@one_line_errors
def board(folders: tuple[Path, ...], into: Path) -> None:
    """Write one page of the results in many runs folders."""
    from lossbench.report.board import write

    for line in write(folders, into):
        click.echo(line)


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@one_line_errors
def diff(first: Path, second: Path) -> None:
    """Show what changed between two reports or runs folders."""
    from lossbench.report.differing import diff as lines

    for line in lines(first, second):
        click.echo(line)


@click.command()
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

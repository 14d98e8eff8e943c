"""`lossbench data`: data sets shown, fetched and checked."""

from __future__ import annotations

import sys

import click

from lossbench.cli.errors import one_line_errors


@click.group()
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

"""Commands about what an experiment can name: what there is, a new loss, its checks."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lossbench.cli.errors import one_line_errors
from lossbench.cli.options import JSON, PLUGINS, echo_json, path_option

KINDS = ("experiments", "recipes", "losses", "datasets", "backbones", "metrics")  # what `list` knows


@click.command("list")
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


@click.command("new-loss")
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


@click.command()
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

"""Options that several commands share, and how `--json` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def path_option(*names: str, **settings: Any) -> Callable[..., Any]:
    """An option that is a path."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


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
    click.option("--epochs", metavar="N|auto", help="Train for so many passes over the training split."),
    click.option("--recipes", metavar="A,B+C", help="Compare these recipes only."),
    click.option("--quick", is_flag=True, help="Train briefly on a small budget, to see whether everything works."),
)


def numbers(context: click.Context, option: click.Parameter, given: str | None) -> tuple[float, ...] | None:
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

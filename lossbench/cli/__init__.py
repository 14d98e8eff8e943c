"""The command line: arguments in, calls out. Heavy imports happen inside the commands."""

from __future__ import annotations

import click

from lossbench import __version__
from lossbench.cli.data_sets import data
from lossbench.cli.embeddings import embed, score
from lossbench.cli.naming import check, list_, new_loss
from lossbench.cli.reports import board, diff, export, report
from lossbench.cli.runs import merge, probe, replay, run, start, status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lossbench")
def main() -> None:
    """Compare metric-learning losses: fairly, tuned and paired."""


for command in (
    *(run, start, probe, status, replay, merge),
    *(report, board, diff, export),
    *(list_, new_loss, check),
    *(score, embed),
    data,
):
    main.add_command(command)

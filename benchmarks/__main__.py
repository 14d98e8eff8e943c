"""`make bench`: one table of what was measured here and now, against peers and limits.

    python -m benchmarks [NAME]... [--heavy]

NAME: `losses`, `metrics`, `training`, `start`, `workers`, `sharding`, `gpu`; all but the last three where none is
given. `--heavy` adds `workers`, `sharding` and the retrieval of 200,000 embeddings, which take minutes. `gpu` needs a
card and MNIST. `inference` simulates experiments whose truth is known and prints its own tables: errors, coverage and
power. `repetition` repeats the ablation, and one loss under six names, `--repetitions` times in the folder `--into`,
where the same call goes on, and prints how the answers agree; each repetition takes half an hour on two cores.
`components` crosses the searches and splits of the ablation that lies in `--into`, and prints where the variance of
an effect comes from and what the budget buys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from benchmarks import components, gpu, inference, losses, metrics, repetition, sharding, start, training, workers
from benchmarks.measure import Row
from lossbench.run import device

LINE = "{what:<98} {ours:>18} {peer:>9} {ratio:>22}   {limit:<20} {reached}"

OWN_TABLES = ("inference", "repetition", "components")
NAMES = ("losses", "metrics", "training", "start", "workers", "sharding", "gpu", *OWN_TABLES)


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--heavy", is_flag=True, help="Add what takes minutes.")
@click.option("--into", type=click.Path(path_type=Path), default=Path("repetition"), show_default=True)
@click.option("--repetitions", type=click.IntRange(min=1), default=6, show_default=True)
def main(names: tuple[str, ...], heavy: bool, into: Path, repetitions: int) -> None:
    """Print the rows as they are measured."""
    device.set_up("cpu")  # as runs do, for peers too
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "losses": losses.rows,
        "metrics": lambda: metrics.rows(heavy=heavy),
        "training": training.rows,
        "start": start.rows,
    }
    if heavy or "workers" in names:
        groups["workers"] = workers.rows
    if heavy or "sharding" in names:
        groups["sharding"] = sharding.rows
    if "gpu" in names:
        groups["gpu"] = gpu.rows
    measured = [name for name in names or groups if name not in OWN_TABLES]
    columns = {"what": "what", "ours": "ours", "peer": "peer", "ratio": "ratio [95 %]", "limit": "to reach"}
    if measured:
        click.echo(LINE.format(**columns, reached="reached"))
    for name in measured:
        for row in groups[name]():
            click.echo(LINE.format(**{column: getattr(row, column) for column in columns}, reached=_word(row)))
    if "inference" in names:
        for line in inference.lines():
            click.echo(line)
    if "repetition" in names:
        for line in repetition.run(into, repetitions):
            click.echo(line)
    if "components" in names:
        for line in components.run(into):
            click.echo(line)


def _word(row: Row) -> str:
    return "" if row.reached is None else "yes" if row.reached else "no"


if __name__ == "__main__":
    main()

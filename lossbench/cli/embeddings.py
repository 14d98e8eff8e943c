"""Commands that need no experiment: figures of embeddings, and embeddings of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lossbench.cli.errors import fail, one_line_errors
from lossbench.cli.options import PLUGINS, numbers, path_option
from lossbench.cli.reports import write_report


@click.command()
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


@click.command()
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
    "--mean", metavar="R,G,B", callback=numbers, show_default="the model's own", help="Subtract this, of values to 1."
)
@click.option("--std", metavar="R,G,B", callback=numbers, show_default="the model's own", help="Divide by this then.")
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

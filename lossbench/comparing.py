"""`lossbench.compare`: an experiment from Python, by the plan, the runs and the tests of the command line."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.datasets.arrays import kept
from lossbench.plugins import registry
from lossbench.plugins.mistakes import SpecError
from lossbench.plugins.objects import Given, given_losses
from lossbench.report.reading import Results, of_runs
from lossbench.specification import flags
from lossbench.specification.parsing import toml_path
from lossbench.specification.plan import Plan
from lossbench.store import Store
from lossbench.sweep import launch, trying

EXPERIMENT = Path("ablation")  # whose settings hold where none is given
OF_TASK = ("protocol", "train_classes", "val_classes", "input_size", "fit", "label_noise", "splits")
VECTORS = "mlp"  # the backbone of vectors, where none is named

PathLike = str | os.PathLike[str]


def compare(
    data: PathLike | tuple[Any, Any],
    losses: Sequence[object],
    *,
    name: str = "comparison",
    runs: PathLike = "runs",
    workers: int | None = None,
    plugins: Sequence[PathLike] = (),
    studies: int | None = None,
    epochs: int | str | None = None,
    quick: bool = False,
    **settings: Any,
) -> Results:
    """Compare losses on data: tuned alike, over several studies, with a test of every pair.

    It is `lossbench run ablation` with these settings: the same runs, found again in the runs folder by either, and the
    same figures. Stopped at any moment, the same call goes on from there.

    Args:
        data: a folder of pictures with one folder a class, a table, a file of features or the name of a data set, as
            `--data` takes it; or `(X, y)`: vectors (N, F) or uint8 images (N, H, W) or (N, H, W, 3), and N labels.
        losses: recipes by their names (`"softmax+center"`), and losses as Python objects
            (`lossbench.plugins.objects.given_losses`). With any object that other processes cannot import, all runs
            happen in this process.
        name: of the experiment.
        runs: where results are stored, and arrays that were given as data.
        workers: processes; none given, one a core.
        plugins: plugin files.
        studies, epochs, quick: as the flags of `lossbench run`.
        settings: further keys of an experiment file, as `backbone="mlp"` and `training={"batch_size": 32}`; and of its
            task, as `protocol="open-set"` and `input_size=28`.

    Raises:
        SpecError: every mistake in them.
        DataError: data that cannot be used.
    """
    given = given_losses(losses)
    root = Path(runs)
    dataset, edge = kept(*data, root / "data") if isinstance(data, tuple) else (os.fspath(data), None)
    of_task = ({"input_size": edge} if edge else {}) | {key: settings.pop(key) for key in OF_TASK if key in settings}
    if dataset.startswith("features:") or Path(dataset).suffix in (".npz", ".parquet"):
        settings.setdefault("backbone", VECTORS)
    overrides = [
        *flags.settings(name=name, studies=studies, epochs=epochs, quick=quick),
        flags.task(dataset, **of_task),
        f"recipes={json.dumps(given.recipes)}",
        *_overrides({"claims": [], **settings}),
    ]
    with registry.lent(given.plugins):
        plan = launch.prepare(EXPERIMENT, overrides, [*map(Path, plugins), *given.files])
        _run(plan, Store(root), given, workers)
    return of_runs(name, root)


def _run(plan: Plan, store: Store, given: Given, workers: int | None) -> None:
    """Run what is missing, in this process where a loss is nowhere else."""
    trying.try_losses(plan)
    launch.check_writable(store.root)
    if not given.plugins:
        launch.run(plan, store, workers=workers)
        return
    if workers:
        raise SpecError([f"workers: {workers} processes cannot find {given.plugins[0].name}, which lives in this one"])
    with _this_process(given, plan.experiment.embedding_dim):
        launch.run(plan, store, workers=0)


@contextlib.contextmanager
def _this_process(given: Given, embedding_dim: int) -> Iterator[None]:
    """This process ready for runs, and afterwards as it was.

    Raises:
        SpecError: losses that are no scalar, not finite or detached.
    """
    from lossbench.plugins import conformance
    from lossbench.run import device

    with device.lent():
        tried = [(plugin.name, conformance.untrainable(plugin, embedding_dim)) for plugin in given.plugins]
        if mistakes := [f"losses: {name}: {why}" for name, why in tried if why]:
            raise SpecError(mistakes)
        yield


def _overrides(settings: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[str]:
    """Nested settings as `key=value`, as `--set` takes them."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _overrides(value, (*place, str(key)))
        else:
            yield f"{toml_path([*place, str(key)])}={_toml(value)}"


def _toml(value: Any) -> str:
    """A value of an experiment file."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{toml_path([str(key)])} = {_toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, default=str)

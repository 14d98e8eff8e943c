"""From an experiment to run specifications: names resolved, everything checked before anything runs."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lossbench import datasets
from lossbench.datasets import splits
from lossbench.datasets.dataset import DataError
from lossbench.datasets.subset import training_samples
from lossbench.plugins import Plugin, PluginError, registry
from lossbench.specification import claims
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.parsing import toml_path
from lossbench.specification.recipes import Recipe, make_recipe, with_params
from lossbench.specification.spec import Experiment, Provenance, RunSpec, SpecError, Task, Training, Value

TUNING_SEED = 0  # of every trial; final runs take 1, 2, 3, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked experiment: what `run_spec` needs to describe any run of it.

    Attributes:
        train_sizes, scored, pixels: training images of a task, its validation and test images, values in one of them;
            for the estimate of time.
    """

    experiment: Experiment
    recipes: tuple[Recipe, ...]
    checksums: Mapping[Task, str]
    plugin_files: tuple[str, ...]
    train_sizes: Mapping[Task, int]
    scored: Mapping[Task, tuple[int, int]]
    pixels: Mapping[Task, int]

    @property
    def final_seeds(self) -> range:
        """Seeds of the final runs: none of them was used in tuning."""
        return range(TUNING_SEED + 1, TUNING_SEED + 1 + self.experiment.budget.seeds)

    def run_counts(self, task: Task) -> tuple[int, int]:
        """How many trials and how many final runs, baselines included, a task has."""
        budget = self.experiment.budget
        trials = sum(budget.trials if recipe.searched else 1 for recipe in self.recipes)
        baselines = sum(1 if name == "pixels" else budget.seeds for name in self.experiment.baselines)
        return trials, (2 * budget.seeds * len(self.recipes) + baselines) * len(task.final_folds)

    def run_spec(
        self,
        task: Task,
        recipe: Recipe,
        values: Mapping[str, Value],
        *,
        seed: int,
        final: bool,
        fold: int | None = None,
    ) -> RunSpec:
        """One training run of a recipe."""
        experiment = self.experiment
        return RunSpec(
            task=task,
            backbone=experiment.backbone,
            embedding_dim=experiment.embedding_dim,
            terms=recipe.terms(values),
            sampler=recipe.sampler,
            lr=float(values["lr"]),
            training=experiment.training,
            seed=seed,
            final=final,
            fold=fold,
            provenance=self.provenance(task, recipe.losses, experiment.backbone),
            plugin_files=self.plugin_files,
        )

    def baseline_specs(self, task: Task) -> list[tuple[str, RunSpec]]:
        """(name, run) of the baselines: the network as initialized, and the image itself, which has no seed."""
        specs: list[tuple[str, RunSpec]] = []
        for name in self.experiment.baselines:
            pixels = name == "pixels"
            backbone = "pixels" if pixels else self.experiment.backbone
            seeds = self.final_seeds[:1] if pixels else self.final_seeds
            for fold, seed in itertools.product(task.final_folds, seeds):
                spec = RunSpec(
                    task=task,
                    backbone=backbone,
                    embedding_dim=self.experiment.embedding_dim,
                    terms=(),
                    sampler="uniform",
                    lr=0.0,
                    training=self.experiment.training,
                    seed=seed,
                    final=True,
                    fold=fold,
                    provenance=self.provenance(task, [], backbone),
                    plugin_files=self.plugin_files,
                )
                specs.append((name, spec))
        return specs

    def provenance(self, task: Task, losses: Iterable[Plugin], backbone: str) -> Provenance:
        """What a run of this plan depends on beside its settings."""
        return provenance_of(task, losses, backbone, self.checksums[task], self.plugin_files)


def provenance_of(
    task: Task, losses: Iterable[Plugin], backbone: str, checksum: str, plugin_files: Sequence[str]
) -> Provenance:
    """What a run depends on beside its settings; only plugins that it uses are part of it."""
    modules = [*losses, registry.find("backbone", backbone)]
    used = [
        *modules,
        registry.find("dataset", task.dataset.partition(":")[0]),
        *(registry.find("metric", name) for name in registry.names("metric", plugin_files)),
    ]
    foreign = {f"{plugin.kind} {plugin.name}": plugin.digest for plugin in used if not plugin.builtin}
    return Provenance(
        data=checksum,
        code=code_digest(modules),
        plugins=tuple(sorted(foreign.items())),
        libraries=library_versions(),
    )


def make_plan(experiment: Experiment, *, file: Path, plugin_files: Sequence[Path] = ()) -> Plan:
    """Resolve every name and check every value of an experiment.

    Args:
        file: the experiment file; paths of its plugins are relative to it.
        plugin_files: further plugin files, relative to the working directory.

    Raises:
        SpecError: every mistake found.
    """
    paths = tuple(file.parent / name for name in experiment.plugins) + tuple(plugin_files)
    try:
        registry.load_files(paths)
    except SpecError as error:
        raise SpecError(f"{file}: plugins: {mistake}" for mistake in error.mistakes) from error
    recipes, mistakes = _recipes(experiment)
    mistakes += _training_mistakes(experiment.training)
    mistakes += claims.mistakes(experiment.claims, registry.names("metric", map(str, paths)))
    try:
        registry.find("backbone", experiment.backbone)
    except PluginError as error:
        mistakes.append(f"backbone: {error}")
    checksums, train_sizes, scored, pixels = {}, {}, {}, {}
    for position, task in enumerate(experiment.tasks):
        try:
            checksums[task], train_sizes[task], scored[task], pixels[task] = _check_task(task, experiment.training)
        except ValueError as error:
            mistakes.append(f"{toml_path(['tasks', position])}: {error}")
            continue
    if mistakes:
        raise SpecError(f"{file}: {mistake}" for mistake in mistakes)
    return Plan(
        experiment=experiment,
        recipes=recipes,
        checksums=checksums,
        plugin_files=tuple(str(path.resolve()) for path in paths),
        train_sizes=train_sizes,
        scored=scored,
        pixels=pixels,
    )


def _recipes(experiment: Experiment) -> tuple[tuple[Recipe, ...], list[str]]:
    recipes, mistakes = [], []
    for position, entry in enumerate(experiment.recipes):
        try:
            recipe = make_recipe(entry.name, entry.use, experiment.training)
        except PluginError as error:
            mistakes.append(f"{toml_path(['recipes', position])}: {error}")
            continue
        recipe, found = with_params(recipe, experiment.params.get(entry.name, {}))
        mistakes += [f"{toml_path(['params', entry.name, name])}: {mistake}" for name, mistake in found]
        recipes.append(recipe)
        if entry.name in experiment.baselines:
            mistakes.append(f"{toml_path(['recipes', position])}: {entry.name!r} is the name of a baseline")
    return tuple(recipes), mistakes + _unlisted_params(experiment)


def _unlisted_params(experiment: Experiment) -> list[str]:
    """Parameters of recipes that are not listed are allowed, as long as there can be such a recipe."""
    mistakes = []
    listed = {entry.name for entry in experiment.recipes}
    for name, given in experiment.params.items():
        if name in listed:
            continue
        try:
            recipe = make_recipe(name, name, experiment.training)
        except PluginError as error:
            mistakes.append(f"{toml_path(['params', name])}: no such recipe: {error}")
            continue
        _, found = with_params(recipe, given)
        mistakes += [f"{toml_path(['params', name, param])}: {mistake}" for param, mistake in found]
    return mistakes


def _training_mistakes(training: Training) -> list[str]:
    mistakes = []
    if training.batch_size // training.samples_per_class < 2:
        mistakes.append(
            f"training.batch_size: {training.batch_size} holds fewer than two classes of "
            f"{training.samples_per_class} (training.samples_per_class)"
        )
    if training.batch_size < training.processes:
        mistakes.append(
            f"training.batch_size: {training.batch_size} leaves nothing for some of the {training.processes} "
            "processes (training.processes)"
        )
    if training.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            mistakes.append("training.device: 'cuda': this torch finds no GPU; use 'cpu', or see docs/scaling.md")
    return mistakes


def _check_task(task: Task, training: Training) -> tuple[str, int, tuple[int, int], int]:
    """Of a task: checksum of its data, training images (the fewest of any fold), val and test images, values in one.

    Raises:
        ValueError: unknown data set or protocol, missing data, or an impossible split.
    """
    if (outline := datasets.outline(task.dataset)) is not None:  # refused before hours of decoding
        _check_splits(outline, task, training)
    source = datasets.load(task.dataset, task.input_size or training.input_size, task.fit)
    if source.features is not None and task.input_size is not None:
        raise DataError(f"{task.dataset}: holds vectors, which have no size in pixels; leave input_size away")
    size, parts = _check_splits(source, task, training)
    for note in parts.notes:
        warnings.warn(f"{task.dataset}: {note}", stacklevel=2)
    return source.checksum, size, (len(parts.val), len(parts.test)), int(np.prod(source.samples.shape[1:]))


def _check_splits(source: datasets.Dataset, task: Task, training: Training) -> tuple[int, splits.Split]:
    """The fewest training samples of any fold of a task, and the last of its splits.

    Raises:
        ValueError: an impossible split, or one without enough to train on.
    """
    sizes = []
    for fold in (None, *task.final_folds):
        parts = splits.split(source, task.protocol, fold=fold)
        sizes.append(len(training_samples(source, parts, task.train_classes)))
        if fold in task.final_folds and not len(parts.test):
            raise DataError(
                f"{task.dataset}: {task.protocol} without folds is for development and has no test; "
                "say how many folds to test on, such as folds = 2"
            )
    if min(sizes) < training.batch_size:
        raise DataError(_too_few(min(sizes), training))
    return min(sizes), parts


def _too_few(size: int, training: Training) -> str:
    """That a batch is larger than the training set, and the line to paste that helps where one does."""
    rule = f"training.batch_size {training.batch_size} is more than the {size} samples there are to train on"
    batch = 2 ** (size.bit_length() - 1) if size else 0  # the largest power of two that they fill
    if batch < 4:
        return f"{rule}; more samples are needed, at least 4"
    per_class = min(training.samples_per_class, batch // 2)
    fewer = f" --set training.samples_per_class={per_class}" if per_class < training.samples_per_class else ""
    return f"{rule}; --set training.batch_size={batch}{fewer}"

"""What comes from elsewhere, tried before the first run: losses of plugins, and networks with weights."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.executors.processes import ProcessExecutor, WorkerDiedError
from lossbench.plugins import registry
from lossbench.plugins.mistakes import SpecError
from lossbench.run.clock import TimeLimitError
from lossbench.specification.plan import Plan
from lossbench.specification.spec import RunSpec

CHECK_LIMIT_S = 30.0  # for one batch through each loss of a plugin


def try_losses(plan: Plan) -> None:
    """One batch through each loss of a plugin, in a process that it may kill or hang: what does so, its runs will show.

    Raises:
        SpecError: losses that are no scalar, not finite or detached.
    """
    losses = {loss.name: loss for recipe in plan.recipes for loss in recipe.losses if not loss.builtin}
    foreign = sorted(name for name, loss in losses.items() if not loss.identity)
    if not foreign:
        return
    executor = ProcessExecutor(1, limit_s=CHECK_LIMIT_S)
    try:
        mistakes = executor.submit(_untrainable, foreign, plan.plugin_files, plan.experiment.embedding_dim).result()
    except (WorkerDiedError, TimeLimitError):
        return
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    if mistakes:
        raise SpecError(mistakes)


def _untrainable(names: Sequence[str], plugin_files: Sequence[str], embedding_dim: int) -> list[str]:
    """What the process calls; torch is imported there, not in the driver."""
    from lossbench.plugins import conformance

    registry.load_files(plugin_files)
    found = [(plugin := registry.find("loss", name), conformance.untrainable(plugin, embedding_dim)) for name in names]
    return [f"plugin {plugin.file}: loss {plugin.name!r}: {why}" for plugin, why in found if why]


def try_network(plan: Plan) -> list[str]:
    """Build a network that comes from elsewhere once a task, in a process of its own.

    Returns:
        What a file of weights gives it; nothing for the networks that lossbench ships, which need no trial.

    Raises:
        SpecError: it is not installed or not known, its weights do not fit, or it does not take the task's images.
    """
    experiment = plan.experiment
    if experiment.pretrained is None and not registry.find("backbone", experiment.backbone).variants:
        return []
    specs = [plan.baseline_spec(task, "untrained", seed=0) for task in experiment.tasks]
    executor = ProcessExecutor(1)
    try:
        if mistakes := executor.submit(_network_mistakes, specs).result():
            raise SpecError(mistakes)
        return [executor.submit(_network_note, specs[0]).result()] if experiment.pretrained else []
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _network_mistakes(specs: Sequence[RunSpec]) -> list[str]:
    from lossbench.run import network

    return network.mistakes(specs)


def _network_note(spec: RunSpec) -> str:
    from lossbench.run import network

    return network.note(spec)

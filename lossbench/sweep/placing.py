"""How many workers this machine holds by what a run takes of it, and which GPU each of them sees."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from pathlib import Path

from lossbench.executors.processes import ProcessExecutor
from lossbench.executors.threads import available_cores
from lossbench.specification.experiment import Experiment


def worker_count(experiment: Experiment, asked: int | None) -> int:
    """Worker processes: as asked for, else as many runs as cores and GPUs hold by the experiment's resources."""
    if asked is not None:
        return asked
    resources = experiment.resources
    fitting = available_cores() / resources.cpus
    if experiment.training.device == "cuda" and resources.gpus:
        fitting = min(fitting, len(_gpus()) / resources.gpus)
    return max(1, int(fitting))


def in_turns(experiment: Experiment, executor: Executor) -> bool:
    """Whether processes wait for one another's work on a GPU, as they do unless NVIDIA's multi-process service runs."""
    if experiment.training.device != "cuda" or not isinstance(executor, ProcessExecutor):
        return False
    service = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    return executor.workers > len(_gpus()) and not (service / "control").exists()


def environments(experiment: Experiment, count: int) -> list[dict[str, str]]:
    """Which GPU each worker may see; nothing where runs do not say what they take of one."""
    share = experiment.resources.gpus
    if experiment.training.device != "cuda" or not share:
        return []
    gpus, whole = _gpus(), max(1, round(share))
    first = [int(slot * share) for slot in range(count)]
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[(place + extra) % len(gpus)] for extra in range(whole))}
        for place in first
    ]


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES writes them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]

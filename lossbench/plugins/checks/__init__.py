"""What every loss must do: one check after the other, in their order.

A check is a function of a `Subject`. It returns what it saw, in a few words, or raises `Violation` with what went wrong
and for which input.
"""

from __future__ import annotations

from collections.abc import Callable

from lossbench.plugins.checks import costs, declared, gradients, hard_inputs, states
from lossbench.plugins.checks.subject import Subject

Check = Callable[[Subject], str]

TRAINING = "training"  # one more, in `lossbench.run.trial`: it needs data sets and the training loop, which lie above
CHECKS: dict[str, Check] = {
    "source": declared.source,
    "scalar": gradients.scalar,
    "space": gradients.space,
    "gradcheck": gradients.gradcheck,
    "permutation": gradients.permutation,
    "scale": hard_inputs.scale,
    "one class": hard_inputs.one_class,
    "singletons": hard_inputs.singletons,
    "identical": hard_inputs.identical,
    "bad row": hard_inputs.bad_row,
    "huge": hard_inputs.huge,
    "tiny": hard_inputs.tiny,
    "half precision": hard_inputs.half,
    "determinism": states.determinism,
    "state": states.state,
    "evaluation mode": states.evaluation,
    "parameters": states.parameters,
    "cost: batch": costs.cost_batch,
    "cost: dimension": costs.cost_dimension,
    "cost: classes": costs.cost_classes,
}

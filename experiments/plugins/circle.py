"""Circle loss as a plugin: `lossbench run ablation --plugin circle.py --set 'recipes=["softmax", "circle"]'`."""

from pytorch_metric_learning.losses import CircleLoss

from lossbench import Float, Problem, loss


@loss(
    "circle",
    space={"m": Float(0.1, 0.5, valid=(0.0, 1.0)), "gamma": Float(16.0, 512.0, log=True, valid=(0.0, 1e4))},
    sampler="balanced",
    source="arXiv:2002.10857",
)
def circle(problem: Problem, *, m: float = 0.25, gamma: float = 256.0) -> CircleLoss:
    """Circle loss on cosine similarities."""
    return CircleLoss(m=m, gamma=gamma)

"""Circle loss in ten lines, under a name of its own: the library's is `circle` already."""

from pytorch_metric_learning.losses import CircleLoss

from lossbench import Float, Problem, loss


@loss("my-circle", space={"m": Float(0.1, 0.5)}, sampler="balanced", source="arXiv:2002.10857")
def my_circle(problem: Problem, *, m: float = 0.25) -> CircleLoss:
    """Circle loss on cosine similarities."""
    return CircleLoss(m=m, gamma=256)

"""What can be named in an experiment, and how it gets there: registered, loaded, checked, started from a template.

Other folders take from here what a plugin declares, and `registry` to find it by name.
"""

from lossbench.plugins.plugin import (
    FOLDERS,
    KINDS,
    Choice,
    Float,
    Int,
    Kind,
    Plugin,
    PluginError,
    Problem,
    Range,
    Sampler,
)
from lossbench.plugins.registry import backbone, dataset, loss, metric

__all__ = [
    "FOLDERS",
    "KINDS",
    "Choice",
    "Float",
    "Int",
    "Kind",
    "Plugin",
    "PluginError",
    "Problem",
    "Range",
    "Sampler",
    "backbone",
    "dataset",
    "loss",
    "metric",
]

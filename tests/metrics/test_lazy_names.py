from __future__ import annotations

import subprocess
import sys

import pytest

from lossbench import metrics


def test_importing_the_package_does_not_import_torch():
    code = "import sys, lossbench.metrics as m; dir(m); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    assert set(metrics.__all__) == set(metrics._HOME)
    for name in metrics.__all__:
        assert getattr(metrics, name).__name__ == name
        assert name in dir(metrics)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'map_at_r'"):
        _ = metrics.map_at_r

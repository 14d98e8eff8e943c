"""Plugins of lossbench, found by the entry points in pyproject.toml."""

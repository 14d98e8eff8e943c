"""`lossbench` and `python -m lossbench` are the same program."""

from __future__ import annotations

from lossbench.cli import main

if __name__ == "__main__":
    main()

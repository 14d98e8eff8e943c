"""`lossbench` and `python -m lossbench` are the same program."""

from __future__ import annotations

import sys

from lossbench.executors import interrupt, threads


def main() -> None:
    """The command line; Ctrl-C is taken over before anything heavy is imported."""
    command = next(iter(sys.argv[1:]), None)
    interrupt.install(command)
    if command != "score":  # which has the machine to itself
        threads.use_one()
    from lossbench.cli import main as commands

    commands(prog_name="lossbench")


if __name__ == "__main__":
    main()

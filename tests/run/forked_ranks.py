"""Ranks forked from one process that has imported torch: what `torchrun` starts, without an import of torch for each.

forked_ranks.py COUNT SCRIPT ARGUMENT...
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import traceback

import torch._dynamo  # noqa: F401  # for all ranks: torch, and what the first optimizer of each would import


def serve(rank: int, count: int, port: int) -> None:
    """Be one rank of the script."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    status = 1
    try:
        del sys.argv[:2]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


if __name__ == "__main__":
    count = int(sys.argv[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = set()
    for rank in range(count):
        if pid := os.fork():
            children.add(pid)
        else:
            serve(rank, count, port)
    failed = False
    while children:
        pid, status = os.wait()
        children.discard(pid)
        if status and not failed:  # the others wait for it
            failed = True
            for other in children:
                os.kill(other, signal.SIGKILL)
    sys.exit(failed)

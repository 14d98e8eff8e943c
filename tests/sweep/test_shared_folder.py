"""Two drivers on two hosts over one folder: locks that another host does not see, none at all, and the same moment."""

from __future__ import annotations

import errno
import fcntl
import json
import subprocess
import sys
import time

import pytest

from lossbench.executors.lock import BusyError
from lossbench.sweep import driver

HOLD = """
import errno, fcntl, pathlib, socket, sys
from lossbench.sweep import driver
driver.NOTED_S = 0.05
socket.gethostname = lambda: sys.argv[2]
fcntl.flock = lambda *_: None  # nobody here sees its lock
with driver.driving(pathlib.Path(sys.argv[1]), "theirs") as note:
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder, host):
    """A process that drives the folder from a host until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "NOTED_S", 0.05)
    monkeypatch.setattr(driver, "WATCH_S", 1.0)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    return tmp_path


def test_a_driver_on_another_host_is_seen_though_its_lock_is_not(folder):
    there = hold(folder, "there")
    with pytest.raises(BusyError, match=f"process {there.pid} on there is writing here, which its lock does not show"):
        driver.driving(folder, "mine").__enter__()
    assert driver.current(folder)["host"] == "there"
    there.kill()
    there.wait()
    assert json.loads((folder / driver.FILE).read_text())["host"] == "there", "it had no time to clear its note"
    assert driver.current(folder) is None
    with driver.driving(folder, "mine"):
        assert json.loads((folder / driver.FILE).read_text())["host"] == "here"


def test_a_driver_that_ended_leaves_nobody_waiting(folder, monkeypatch):
    there = hold(folder, "there")
    there.communicate("")
    monkeypatch.setattr(driver, "_changes", lambda *_: pytest.fail("nothing to watch"))
    with driver.driving(folder, "mine"):
        pass
    assert driver.current(folder) is None


def test_where_there_are_no_locks_a_second_driver_of_this_host_is_refused_too(folder, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    here = hold(folder, "here")
    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(BusyError, match=f"process {here.pid} on here is writing here"):
        driver.driving(folder, "mine").__enter__()
    here.kill()
    here.wait()
    with driver.driving(folder, "mine"):
        pass


def test_of_two_that_begin_at_the_same_moment_one_stops_and_says_why(folder, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with driver.driving(folder, "first") as first:
        monkeypatch.setattr(driver, "_lock_may_hide", lambda *_: False)  # the other looked before the first wrote
        with driver.driving(folder, "second") as second:
            deadline = time.monotonic() + 30
            while not first._other and time.monotonic() < deadline:
                time.sleep(0.01)
            with pytest.raises(BusyError, match="is writing here"):
                first.write([])
            second.write([1, 2])
        assert (folder / driver.FILE).read_text() == ""


def test_a_note_goes_on_changing_while_a_run_takes_its_time(folder):
    with driver.driving(folder, "mine"):
        first = driver.note_in(folder / driver.FILE)
        assert driver._changes(folder / driver.FILE, first)

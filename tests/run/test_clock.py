"""What the clocks of a run charge to whom."""

from __future__ import annotations

import time

import pytest

from lossbench.run.clock import Clock, DeviceClock


class Queue:
    """A device that reaches each event at a time of its own choice; the host learns it only by waiting."""

    def __init__(self, *moments_ms: float) -> None:
        self.moments = list(moments_ms)
        self.waits = 0

    def event(self) -> QueueEvent:
        return QueueEvent(self)


class QueueEvent:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def record(self) -> None:
        self.at = self.queue.moments.pop(0)

    def synchronize(self) -> None:
        self.queue.waits += 1

    def elapsed_time(self, end_event: QueueEvent) -> float:
        return end_event.at - self.at


def test_a_lap_charges_the_time_since_the_last_one():
    clock = Clock()
    time.sleep(0.02)
    clock.lap("forward")
    clock.lap("loss")
    time.sleep(0.01)
    clock.lap("evaluation")
    assert clock.seconds["forward"] >= 0.02
    assert clock.seconds["evaluation"] >= 0.01
    assert clock.training_s == pytest.approx(clock.seconds["forward"] + clock.seconds["loss"])


def test_a_device_clock_waits_only_when_it_is_read_and_charges_device_time():
    queue = Queue(100.0, 107.0, 110.0, 150.0, 152.0)
    clock = DeviceClock(queue.event)
    clock.lap("forward")
    clock.lap("loss")
    assert queue.waits == 0
    assert clock.training_s == pytest.approx(0.010)
    clock.lap("evaluation")
    clock.lap("forward")
    assert queue.waits == 1
    assert clock.seconds == pytest.approx({"forward": 0.009, "loss": 0.003, "evaluation": 0.040})
    assert clock.training_s == pytest.approx(0.012)

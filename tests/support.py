"""The one way the tests wait, and the one to know when the machine stood still. Knows nothing of what is tested."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class WaitTimeout(AssertionError):
    """The deadline passed; the message holds the last value seen and the last error."""


def wait_until(predicate: Callable[[], T], deadline_s: float, what: str, *, interval_s: float = 0.05) -> T:
    """Call `predicate` until it returns something truthy and return that.

    deadline_s, interval_s: seconds. An exception counts as "not yet"; it is shown if the deadline passes.
    Raises WaitTimeout with what was waited for, how long, how often, and the last value or error.
    """
    start = time.monotonic()
    tries = 0
    while True:
        error: Exception | None = None
        value: T | None = None
        try:
            tries += 1
            value = predicate()
        except Exception as e:
            error = e
        if error is None and value:
            return value
        waited = time.monotonic() - start
        if waited >= deadline_s:
            last = repr(value) if error is None else f"{type(error).__name__}: {error}"
            raise WaitTimeout(f"{what}: not so after {waited:.1f} s and {tries} tries; last seen: {last}") from error
        time.sleep(interval_s)


@contextmanager
def stalls() -> Iterator[Callable[[float], float]]:
    """A function that tells how long the machine stood still since a time of `time.monotonic`, at most, in seconds.

    A thread on each core wants to run every 2 ms; where one could not, what was timed meanwhile does not tell of the
    program under test. For tests with a bound: measure again instead of widening the bound.
    """
    late: list[tuple[float, float]] = []
    over = threading.Event()

    def tick(core: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        last = time.monotonic()
        while not over.wait(0.002):
            now = time.monotonic()
            if now - last > 0.01:
                late.append((now, now - last))
            last = now

    threads = [threading.Thread(target=tick, args=(core,), daemon=True) for core in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    try:
        yield lambda since: max((gap for at, gap in list(late) if at >= since), default=0.0)
    finally:
        over.set()
        for thread in threads:
            thread.join()

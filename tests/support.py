"""The one way the tests wait. Knows nothing of what is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
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

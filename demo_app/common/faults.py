"""The fault a server plays on purpose: slow, failing or failing fast. Knows neither gRPC servers nor HTTP."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any

import grpc

from demo_app.common.errors import DemoError

MAX_DELAY_MS = 60_000
CODES = {c.name: c for c in grpc.StatusCode if c is not grpc.StatusCode.OK}


class FaultError(DemoError):
    """A fault that cannot be played; the message names every bad field."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """delay_ms: added to every call; failure_rate: share of calls (0-1) that end in `code`, after the delay.

    fail_fast: a call that fails does so without the delay, so that the broken pod looks like the quickest:
    the trap for a balancer that goes by latency alone. Says nothing without a failure_rate, so it needs one.
    """

    delay_ms: int = 0
    failure_rate: float = 0.0
    fail_fast: bool = False
    code: str = "UNAVAILABLE"

    @classmethod
    def from_json(cls, body: object) -> Fault:
        """Read the JSON object of PUT /fault; fields left out take their defaults. Raises FaultError."""
        if not isinstance(body, dict):
            raise FaultError('want a JSON object, e.g. {"delay_ms": 100}')
        known = {f.name for f in fields(cls)}
        bad = [f"unknown field {name!r}" for name in body if name not in known]
        delay, rate = body.get("delay_ms", 0), body.get("failure_rate", 0.0)
        if not _is_number(delay) or int(delay) != delay or not 0 <= delay <= MAX_DELAY_MS:
            bad.append(f"delay_ms is {delay!r}: want a whole number of 0-{MAX_DELAY_MS}")
        if not _is_number(rate) or not 0 <= rate <= 1:
            bad.append(f"failure_rate is {rate!r}: want a number of 0-1")
        if not isinstance(body.get("fail_fast", False), bool):
            bad.append(f"fail_fast is {body['fail_fast']!r}: want true or false")
        if body.get("fail_fast") is True and rate == 0:
            bad.append("fail_fast is true: it needs a failure_rate above 0")
        if body.get("code", "UNAVAILABLE") not in tuple(CODES):
            bad.append(f"code is {body['code']!r}: want a gRPC status name other than OK")
        if bad:
            raise FaultError("; ".join(bad))
        return cls(**body)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class FaultSwitch:
    """The fault now in force; the admin port turns it and the interceptor plays it."""

    def __init__(self) -> None:
        self.fault = Fault()

    def draw(self) -> tuple[float, grpc.StatusCode | None]:
        """For one call: seconds to wait first, and the code to fail with (None: go on)."""
        fault = self.fault
        if fault.failure_rate and random.random() < fault.failure_rate:
            return (0.0 if fault.fail_fast else fault.delay_ms / 1000), CODES[fault.code]
        return fault.delay_ms / 1000, None


def _is_number(value: object) -> bool:
    # bool is an int in Python, and JSON text may carry NaN and Infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")

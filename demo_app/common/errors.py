"""The app's errors: each is one line for a person and an exit code. Knows nothing of who prints them."""

from __future__ import annotations


class DemoError(Exception):
    """Base of the app's errors. str() is one line: what was tried, what was seen, a hint."""

    exit_code = 3


class ConfigError(DemoError):
    """Bad options; the message names all of them."""

    exit_code = 2


class PortTakenError(DemoError):
    """A listen address could not be bound."""

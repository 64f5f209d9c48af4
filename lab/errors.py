"""What the lab raises on purpose outside `lab.clusters`, as one line for a person.

    LabError          exit code 3: the cluster or the environment failed
    ├── BadInput      exit code 2: what was asked for cannot be
    ├── ApiFailure    the Kubernetes API said no, or nothing
    └── NotInTime     something did not become so before its deadline

Knows nothing of commands or clusters.
"""

from __future__ import annotations


class LabError(Exception):
    """message: what was tried and what was last seen, one line. hint: what to do about it, one line."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class BadInput(LabError):
    exit_code = 2


class ApiFailure(LabError):
    """status: the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class NotInTime(LabError):
    pass

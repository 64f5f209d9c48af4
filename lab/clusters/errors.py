"""What can go wrong with a cluster, as one line for a person.

    ClusterError              exit code 3: the cluster or the environment failed
    ├── BadClusterInput       exit code 2: the caller asked for something that cannot be
    ├── NotAvailable          this provider cannot be used here or yet
    ├── ClusterBusy           another command is working on the same lab
    ├── DidNotStart           the cluster did not come up before the deadline
    └── DidNotStop            something of the cluster outlived `down`

Knows nothing of how a cluster is made.
"""

from __future__ import annotations


class ClusterError(Exception):
    """Base of everything this package raises on purpose.

    message: what was tried and the last state seen, one line. hint: what to do about it, one line.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class BadClusterInput(ClusterError):
    exit_code = 2


class NotAvailable(ClusterError):
    pass


class ClusterBusy(ClusterError):
    pass


class DidNotStart(ClusterError):
    pass


class DidNotStop(ClusterError):
    pass

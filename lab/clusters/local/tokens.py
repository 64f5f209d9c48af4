"""Bearer tokens: who holds which. In the daemon's memory only; a new daemon means new tokens.

User names follow Kubernetes: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

ADMIN = "system:admin"


@dataclass(frozen=True)
class _Holder:
    user: str
    expires: float  # on the monotonic clock; infinite for a pod's own token, which is revoked with the pod


class Tokens:
    """Random tokens and the users they stand for. Only digests are kept, so a lookup leaks no timing of a
    prefix.
    """

    def __init__(self) -> None:
        self._holders: dict[bytes, _Holder] = {}

    def issue(self, user: str, lifetime_s: float = float("inf")) -> str:
        self._forget_expired()
        token = secrets.token_urlsafe(32)
        self._holders[_digest(token)] = _Holder(user, time.monotonic() + lifetime_s)
        return token

    def issue_for_service_account(self, namespace: str, name: str, lifetime_s: float = float("inf")) -> str:
        return self.issue(f"system:serviceaccount:{namespace}:{name}", lifetime_s)

    def revoke(self, token: str) -> None:
        self._holders.pop(_digest(token), None)

    def user(self, token: str) -> str | None:
        """The user a token stands for, or None."""
        holder = self._holders.get(_digest(token))
        return holder.user if holder and holder.expires > time.monotonic() else None

    def _forget_expired(self) -> None:
        now = time.monotonic()
        self._holders = {digest: holder for digest, holder in self._holders.items() if holder.expires > now}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()

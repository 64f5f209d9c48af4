"""The errors of the API server; each one renders as a `metav1.Status`.

    ApiError
    ├── BadRequest 400      ├── Unauthorized 401    ├── Forbidden 403
    ├── NotFound 404        ├── MethodNotAllowed 405├── NotAcceptable 406
    ├── AlreadyExists 409   ├── Conflict 409        ├── Gone 410 (reason Expired)
    ├── TooLarge 413        ├── UnsupportedMedia 415├── Invalid 422
    ├── InternalError 500   ├── NotImplementedHere 501
    └── BadGateway 502      └── Unavailable 503

Reasons are those of k8s.io/apimachinery `pkg/apis/meta/v1/types.go` (StatusReason). Knows no HTTP library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Cause:
    """One field that is wrong: `reason` is FieldValueRequired, FieldValueInvalid, …; `field` like spec.selector."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    """Base of everything the API server refuses.

    message: what a person reads. plural/group/name: the object meant, for `details`.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self, message: str, *, plural: str = "", group: str = "", name: str = "", causes: Sequence[Cause] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.plural = plural
        self.group = group
        self.name = name
        self.causes = tuple(causes)

    def status(self) -> dict[str, Any]:
        """This error as a metav1.Status object."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.group:
            details["group"] = self.group
        if self.plural:
            details["kind"] = self.plural
        if self.causes:
            details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in self.causes]
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    """The requested resourceVersion is older than the history kept; list again."""

    code, reason = 410, "Expired"


class TooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMedia(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class NotImplementedHere(ApiError):
    code, reason = 501, "NotImplemented"


class BadGateway(ApiError):
    code, reason = 502, "BadGateway"


class Unavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"

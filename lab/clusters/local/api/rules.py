"""The small rules validation is made of: one function per rule, yielding a Cause for each breach.

Wording and limits: k8s.io/apimachinery `pkg/util/validation/validation.go` and `field/errors.go`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lab.clusters.local.api.errors import Cause

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"

_MUST_BEGIN = "must start and end with an alphanumeric character"


def required(field: str, detail: str) -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def bad(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {detail}", field)


def unsupported(field: str, value: Any, known: Sequence[str]) -> Cause:
    listed = ", ".join(json.dumps(k) for k in known)
    return Cause("FieldValueNotSupported", f"Unsupported value: {json.dumps(value)}: supported values: {listed}", field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {json.dumps(value)}", field)


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {json.dumps(value)}", field)


def dns_label(field: str, value: str) -> Iterable[Cause]:
    """RFC 1123 label, at most 63 characters."""
    if len(value) > 63:
        yield bad(field, value, "must be no more than 63 characters")
    if not re.fullmatch(_LABEL, value):
        yield bad(
            field, value,
            f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_MUST_BEGIN} "
            f"(e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')",
        )  # fmt: skip


def service_name(field: str, value: str) -> Iterable[Cause]:
    """RFC 1035 label, at most 63 characters."""
    if len(value) > 63:
        yield bad(field, value, "must be no more than 63 characters")
    if not re.fullmatch(_LABEL_1035, value):
        yield bad(
            field, value,
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            f"character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            f"validation is '{_LABEL_1035}')",
        )  # fmt: skip


def subdomain(field: str, value: str) -> Iterable[Cause]:
    """RFC 1123 subdomain, at most 253 characters."""
    if len(value) > 253:
        yield bad(field, value, "must be no more than 253 characters")
    if not re.fullmatch(_SUBDOMAIN, value):
        yield bad(
            field, value,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
            f"{_MUST_BEGIN} (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')",
        )  # fmt: skip


def label_key(field: str, key: str) -> Iterable[Cause]:
    """A qualified name: an optional DNS prefix, a slash, a name of at most 63 characters."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not re.fullmatch(_SUBDOMAIN, prefix)):
        yield bad(
            field,
            key,
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
        )
    if not name or len(name) > 63 or not re.fullmatch(_QUALIFIED, name):
        yield bad(
            field, key,
            "name part must be 1 to 63 characters, consist of alphanumeric characters, '-', '_' or '.', and "
            f"{_MUST_BEGIN} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')",
        )  # fmt: skip


def label_value(field: str, value: str) -> Iterable[Cause]:
    if len(value) > 63:
        yield bad(field, value, "must be no more than 63 characters")
    if not re.fullmatch(_LABEL_VALUE, value):
        yield bad(
            field, value,
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
            f"{_MUST_BEGIN} (e.g. 'MyValue',  or 'my_value',  or '12345', "
            f"regex used for validation is '{_LABEL_VALUE}')",
        )  # fmt: skip


def port_number(field: str, value: int) -> Iterable[Cause]:
    if not 1 <= value <= 65535:
        yield bad(field, value, "must be between 1 and 65535, inclusive")


def port_name(field: str, value: str) -> Iterable[Cause]:
    """IANA service name, RFC 6335 section 5.1."""
    if len(value) > 15:
        yield bad(field, value, "must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        yield bad(field, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    elif not re.search("[a-z]", value):
        yield bad(field, value, "must contain at least one letter (a-z)")
    elif "--" in value or value.startswith("-") or value.endswith("-"):
        yield bad(field, value, "must not begin or end with a hyphen, nor contain two in a row")

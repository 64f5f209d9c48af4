"""The patch types: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch, apply. Pure.

Strategic merge: kubernetes/community `contributors/devel/sig-api-machinery/strategic-merge-patch.md`. It knows the
type of what it patches, so that lists merge by their keys (`merge_keys.py`); its directives are $patch (replace,
delete, merge), $retainKeys, $setElementOrder/LIST and $deleteFromPrimitiveList/LIST.
The results are plain JSON; decoding, defaults and validation follow after.
"""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from lab.clusters.local.api.errors import BadRequest, Invalid
from lab.clusters.local.api.merge_keys import is_set, merge_key
from lab.clusters.local.api.objects import Object, copy_json
from lab.clusters.local.api.schema import field_type

MAX_OPERATIONS = 10_000
"""Operations in one JSON patch (the API server's own limit, apiserver `patch.go` maxJSONPatchOperations)."""

_ORDER = "$setElementOrder/"
_DELETE_VALUES = "$deleteFromPrimitiveList/"


def json_patch(original: Object, operations: Any) -> Any:
    """RFC 6902. Raises BadRequest for something that is no JSON patch, Invalid when it does not apply."""
    if not isinstance(operations, list):
        raise BadRequest("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise BadRequest(f"a JSON patch has at most {MAX_OPERATIONS} operations, this one has {len(operations)}")
    try:
        return jsonpatch.JsonPatch(copy_json(operations)).apply(copy_json(original))
    except (
        jsonpatch.JsonPatchConflict,
        jsonpatch.JsonPatchTestFailed,
        jsonpointer.JsonPointerException,
    ) as e:
        raise Invalid(f"the server rejected our request due to an error in our request: {e}") from e
    except (jsonpatch.JsonPatchException, TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
        raise BadRequest(f"error decoding patch: {e}") from e


def merge_patch(original: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy_json(patch)
    result = copy_json(original) if isinstance(original, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(type_name: str, original: Object, patch: Any) -> Object:
    """The strategic merge of `patch` into an object of schema type `type_name`. Raises BadRequest."""
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch is an object")
    directive = patch.get("$patch", "merge")
    if directive == "replace":
        return {key: copy_json(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise BadRequest(f"unknown patch directive $patch: {directive!r}; known are replace, delete and merge")
    result = copy_json(original)
    _retain(result, patch.get("$retainKeys"))
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(type_name, key, result.get(key), value)
    _apply_list_directives(type_name, original, result, patch)
    return result


def apply(type_name: str, live: Object, applied: Object) -> Object:
    """Server-side apply without field ownership: what is applied is merged in, nothing is taken away.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
    """
    return strategic_merge(type_name, live, _without_directives(applied))


def _merge_value(type_name: str, key: str, old: Any, value: Any) -> Any:
    kind = field_type(type_name, key)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        return strategic_merge(kind.strip("{}") if kind.startswith("V1") else "", before, value)
    if not isinstance(value, list):
        return value
    before_list = old if isinstance(old, list) else []
    if (by := merge_key(type_name, key)) is not None:
        return _merge_items(kind[1:-1], by, before_list, value)
    if is_set(type_name, key):
        return before_list + [item for item in copy_json(value) if item not in before_list]
    return copy_json(value)


def _merge_items(item_type: str, by: str, old: list[Any], patch: list[Any]) -> list[Any]:
    """Merge a list whose items are told apart by the field `by`."""
    if any(not isinstance(item, dict) for item in patch):
        raise BadRequest(f"every item of a list merged by {by!r} must be an object")
    if any(item.get("$patch") == "replace" for item in patch):
        return [strategic_merge(item_type, {}, item) for item in patch if item.get("$patch") != "replace"]
    result = copy_json(old)
    for item in patch:
        if by not in item:
            raise BadRequest(f"map: {item} does not contain declared merge key: {by}")
        at = next((i for i, have in enumerate(result) if isinstance(have, dict) and have.get(by) == item[by]), None)
        if item.get("$patch") == "delete":
            result = [have for have in result if not (isinstance(have, dict) and have.get(by) == item[by])]
        elif at is None:
            result.append(strategic_merge(item_type, {}, item))
        else:
            result[at] = strategic_merge(item_type, result[at], item)
    return result


def _retain(result: Object, keys: Any) -> None:
    if keys is None:
        return
    if not isinstance(keys, list):
        raise BadRequest("$retainKeys must be a list of keys")
    for key in [key for key in result if key not in keys]:
        del result[key]


def _apply_list_directives(type_name: str, original: Object, result: Object, patch: Object) -> None:
    for directive, values in patch.items():
        if directive.startswith(_DELETE_VALUES):
            field = directive.removeprefix(_DELETE_VALUES)
            if not isinstance(values, list):
                raise BadRequest(f"{directive} must be a list")
            if isinstance(result.get(field), list):
                result[field] = [value for value in result[field] if value not in values]
    for directive, order in patch.items():
        if directive.startswith(_ORDER):
            field = directive.removeprefix(_ORDER)
            if not isinstance(order, list):
                raise BadRequest(f"{directive} must be a list")
            if isinstance(result.get(field), list):
                before = original.get(field)
                by = merge_key(type_name, field)
                result[field] = _ordered(by, before if isinstance(before, list) else [], result[field], order)


def _ordered(by: str | None, original: list[Any], merged: list[Any], order: list[Any]) -> list[Any]:
    """Items named in `order` come in that order; the others keep their place relative to the original list."""

    def identity(item: Any) -> Any:
        return item.get(by) if by is not None and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    before = [identity(item) for item in original]
    named = sorted((i for i in merged if identity(i) in wanted), key=lambda i: wanted.index(identity(i)))
    others = [item for item in merged if identity(item) not in wanted]
    result: list[Any] = []
    while named and others:
        mine, theirs = identity(named[0]), identity(others[0])
        first = mine not in before or theirs not in before or before.index(mine) < before.index(theirs)
        result.append(named.pop(0) if first else others.pop(0))
    return result + named + others


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_directives(v) for k, v in value.items() if not k.startswith("$")}
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value

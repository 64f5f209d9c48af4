"""The patch types, by table and by property."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.clusters.local.api import errors, patch

_WORDS = st.sampled_from(["a", "b", "c", "d"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=12,
)
_ENV = st.lists(st.builds(lambda n, v: {"name": n, "value": v}, _WORDS, _WORDS), unique_by=lambda e: e["name"])


def _env(*pairs: str) -> list[dict[str, str]]:
    return [{"name": p[0], "value": p[1:]} for p in pairs]


@pytest.mark.parametrize(
    ("type_name", "old", "change", "expected"),
    [
        ("V1Container", {"env": _env("a1", "b2")}, {"env": _env("b3", "c4")}, {"env": _env("a1", "b3", "c4")}),
        ("V1Container", {"env": _env("a1", "b2")}, {"env": [{"name": "a", "$patch": "delete"}]}, {"env": _env("b2")}),
        ("V1Container", {"env": _env("a1")}, {"env": [{"$patch": "replace"}, *_env("z9")]}, {"env": _env("z9")}),
        ("V1Container", {"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}),
        ("V1Container", {"image": "a", "name": "n"}, {"image": None}, {"name": "n"}),
        (
            "V1Container",
            {"ports": [{"containerPort": 1, "name": "x"}]},
            {"ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}]},
            {"ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}]},
        ),
        (
            "V1Container",
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "readOnly": True}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "x", "readOnly": True}]},
        ),
        (
            "V1PodSpec",
            {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]},
            {"containers": [{"name": "b", "image": "2"}]},
            {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]},
        ),
        (
            "V1PodSpec",
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        ),
        (
            "V1DeploymentSpec",
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
        ),
        (
            "V1PodStatus",
            {"conditions": [{"type": "Ready", "status": "False"}]},
            {"conditions": [{"type": "Ready", "status": "True"}]},
            {"conditions": [{"type": "Ready", "status": "True"}]},
        ),
        (
            "V1ObjectMeta",
            {"finalizers": ["a", "b"]},
            {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b", "c"]},
        ),
        (
            "V1Container",
            {"env": _env("a1", "x0", "b2")},
            {"$setElementOrder/env": [{"name": "b"}, {"name": "a"}], "env": _env("b3")},
            {"env": _env("x0", "b3", "a1")},
        ),
        ("V1Container", {"resources": {"limits": {"a": "1"}}}, {"resources": {"$patch": "delete"}}, {"resources": {}}),
        (
            "V1ObjectMeta", {"labels": {"a": "1", "b": "2"}},
            {"labels": {"b": None, "c": "3"}}, {"labels": {"a": "1", "c": "3"}},
        ),
    ],
)  # fmt: skip
def test_strategic_merge(type_name: str, old: dict[str, Any], change: dict[str, Any], expected: Any) -> None:
    assert patch.strategic_merge(type_name, old, change) == expected


@pytest.mark.parametrize(
    "change",
    [
        [],
        {"$patch": "explode"},
        {"env": ["text"]},
        {"env": [{"value": "no name"}]},
        {"$retainKeys": "x"},
        {"$setElementOrder/env": 3, "env": []},
        {"$deleteFromPrimitiveList/args": 3},
    ],
)
def test_a_bad_strategic_patch_is_a_bad_request(change: Any) -> None:
    with pytest.raises(errors.BadRequest):
        patch.strategic_merge("V1Container", {"env": _env("a1"), "args": ["x"]}, change)


@given(_ENV, _ENV)
def test_merging_a_list_keeps_what_the_patch_does_not_name(
    old: list[dict[str, str]], new: list[dict[str, str]]
) -> None:
    merged = patch.strategic_merge("V1Container", {"env": old}, {"env": new})["env"]
    named = {e["name"]: e["value"] for e in new}
    assert {e["name"]: e["value"] for e in merged} == {**{e["name"]: e["value"] for e in old}, **named}
    assert [e["name"] for e in merged][: len(old)] == [e["name"] for e in old]


@given(_ENV, st.permutations(["a", "b", "c", "d"]))
def test_the_order_asked_for_is_the_order_given(old: list[dict[str, str]], order: list[str]) -> None:
    change = {"$setElementOrder/env": [{"name": n} for n in order]}
    merged = patch.strategic_merge("V1Container", {"env": old}, change)["env"]
    assert [e["name"] for e in merged] == [n for n in order if n in {e["name"] for e in old}]


@given(st.dictionaries(_WORDS, _JSON), _JSON)
def test_a_merge_patch_applied_twice_is_applied_once(old: dict[str, Any], change: Any) -> None:
    once = patch.merge_patch(old, change)
    assert patch.merge_patch(once, change) == once


@pytest.mark.parametrize(
    ("old", "change", "expected"),
    [  # RFC 7386 appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, "bar", "bar"),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_examples_of_the_rfc(old: Any, change: Any, expected: Any) -> None:
    assert patch.merge_patch(old, change) == expected


@given(
    st.dictionaries(_WORDS, _JSON),
    _JSON
    | st.lists(
        st.dictionaries(
            st.sampled_from(["op", "path", "value", "from"]),
            _JSON | st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "/a", "/b/0", "/a/-", "a"]),
        )
    ),
)
def test_any_json_patch_applies_or_is_refused(old: dict[str, Any], operations: Any) -> None:
    try:
        patch.json_patch(old, operations)
    except (errors.BadRequest, errors.Invalid):
        pass


@given(st.dictionaries(st.sampled_from(["env", "ports", "resources", "image"]), _JSON), _JSON)
def test_any_strategic_patch_applies_or_is_refused(old: dict[str, Any], change: Any) -> None:
    try:
        patch.strategic_merge("V1Container", old, {"env": change, "resources": change, "$retainKeys": ["env"]})
    except errors.BadRequest:
        pass


def test_json_patch_failures_are_told_apart() -> None:
    for operation in ({"op": "test", "path": "/a", "value": 2}, {"op": "remove", "path": "/nope"}):
        with pytest.raises(errors.Invalid):
            patch.json_patch({"a": 1}, [operation])
    for operations in ({}, [{"op": "zap", "path": "/a"}], [{}], ["x"]):
        with pytest.raises(errors.BadRequest):
            patch.json_patch({"a": 1}, operations)

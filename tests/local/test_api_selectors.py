"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.clusters.local.api import errors
from lab.clusters.local.api.selectors import match_labels, match_selector, object_filter, parse_labels

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": "1"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app=api", False), ("app!=api", True),
        ("app!=web", False), ("missing!=web", True), ("app in (web,api)", True), ("app notin (web)", False),
        ("missing notin (web)", True), ("app", True), ("missing", False), ("!missing", True), ("!app", False),
        ("app=web,tier in (front, back)", True), ("app=web,tier=back", False), ("n>4", True), ("n<5", False),
        ("example.com/x=1", True), (" app = web ", True), ("app=", False), ("tier in ()", False),
    ],
)  # fmt: skip
def test_label_selectors(text: str, matches: bool) -> None:
    assert match_labels(parse_labels(text), LABELS) is matches


@pytest.mark.parametrize("text", [",", "a b", "a in web", "=x", "a=b=c", "n>x", "a in (b", "-a", "a=b,,c", "a=ä"])
def test_what_is_no_label_selector_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        parse_labels(text)


@given(st.text(alphabet="ab=!<>(), in\u00e9\n", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        match_labels(parse_labels(text), LABELS)
    except errors.BadRequest:
        pass


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
    st.sampled_from("abc"),
    st.sampled_from("xyz"),
)
def test_a_term_and_its_negation_split_all_labels(labels: dict[str, str], key: str, value: str) -> None:
    assert match_labels(parse_labels(f"{key}={value}"), labels) != match_labels(parse_labels(f"{key}!={value}"), labels)
    assert match_labels(parse_labels(key), labels) != match_labels(parse_labels(f"!{key}"), labels)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "api"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors_of_objects(selector: dict[str, object] | None, matches: bool) -> None:
    assert match_selector(selector, LABELS) is matches


@pytest.mark.parametrize(
    ("plural", "text", "matches"),
    [
        ("pods", "metadata.name=a,metadata.namespace=default", True),
        ("pods", "spec.nodeName=n1", True),
        ("pods", "status.phase!=Running", True),
        ("pods", "status.phase==Running", False),
        ("pods", "spec.hostNetwork=false", True),
        ("events", "involvedObject.kind=Pod,type=Normal,reason=Started", False),
    ],
)
def test_field_selectors(plural: str, text: str, matches: bool) -> None:
    obj = {
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Pending"},
    }
    assert object_filter(plural, "", text)(obj) is matches


@pytest.mark.parametrize("text", ["spec.color=red", "nonsense", "status.phase"])
def test_an_unknown_field_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        object_filter("pods", "", text)

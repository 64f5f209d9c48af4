"""The injector puts the sidecar in and takes it out again, and leaves everything else as its author wrote it.

First documents (laws that hold for every Deployment), then YAML text (comments, order, style), then bad input.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.inject import ANNOTATION, CONTAINER, InjectError, Options, inject, rewrite, undo

OPTIONS = Options()
MANIFESTS = sorted((Path(__file__).resolve().parents[3] / "lab" / "manifests").glob("*.yaml"))
CLIENTS = ("bot.yaml", "web.yaml")
"""The Deployments of the demo that call others. The servers mount no token, so the sidecar is refused there."""


# --- Documents ---------------------------------------------------------------------------------------------------

words = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), words)
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3))
)
annotations = st.dictionaries(words, words, max_size=3)  # an empty one must come back as an empty one


@st.composite
def extended(draw: st.DrawFn, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that matter among some that do not, in any order."""
    extra = draw(st.dictionaries(words.map(lambda word: f"x-{word}"), anything, max_size=3))
    return dict(draw(st.permutations([*fields.items(), *extra.items()])))


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any]:
    return draw(extended({"annotations": draw(annotations)} if draw(st.booleans()) else {}))


@st.composite
def containers(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(words.filter(lambda word: word != CONTAINER))
    return draw(extended({"name": name, "image": draw(words)}))


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Any]:
    spec = draw(extended({"containers": draw(st.lists(containers(), min_size=1, max_size=3))}))
    fields = {"spec": spec}
    if draw(st.booleans()):
        fields["metadata"] = draw(metadata())
    template = draw(extended(fields))
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": draw(words)}}
    return draw(extended({**head, "spec": draw(extended({"template": template}))}))


@given(deployments())
def test_undo_gives_back_what_inject_was_given(doc: dict[str, Any]) -> None:
    assert undo(inject(doc, OPTIONS)) == doc


@given(deployments())
def test_injecting_twice_is_injecting_once(doc: dict[str, Any]) -> None:
    once = inject(doc, OPTIONS)
    assert inject(once, OPTIONS) == once


@given(deployments())
def test_injecting_again_brings_the_current_options_and_can_still_be_undone(doc: dict[str, Any]) -> None:
    old = inject(doc, Options(image="proxy:old"))
    new = inject(old, Options(image="proxy:new"))
    assert new == inject(doc, Options(image="proxy:new"))
    assert undo(new) == doc


@given(deployments())
def test_neither_direction_changes_what_comes_in(doc: dict[str, Any]) -> None:
    before = copy.deepcopy(doc)
    injected = inject(doc, OPTIONS)
    assert doc == before
    between = copy.deepcopy(injected)
    undo(injected)
    assert injected == between


@given(deployments())
def test_the_sidecar_comes_first_and_the_other_containers_stay_as_they_were(doc: dict[str, Any]) -> None:
    first, *others = inject(doc, OPTIONS)["spec"]["template"]["spec"]["containers"]
    assert first["name"] == CONTAINER
    assert others == doc["spec"]["template"]["spec"]["containers"]


@given(deployments())
def test_undo_leaves_a_deployment_without_the_sidecar_alone(doc: dict[str, Any]) -> None:
    assert undo(doc) == doc


@given(extended({"kind": "Service"}))
def test_undo_leaves_other_kinds_alone_whatever_is_in_them(doc: dict[str, Any]) -> None:
    assert undo(doc) == doc


def test_undo_keeps_an_annotation_that_somebody_added_after_the_injection() -> None:
    injected = inject(deployment(), OPTIONS)
    injected["spec"]["template"]["metadata"]["annotations"]["restarted-at"] = "noon"
    assert undo(injected)["spec"]["template"]["metadata"] == {"annotations": {"restarted-at": "noon"}}


def test_undo_leaves_a_container_of_the_same_name_alone_where_nothing_was_injected() -> None:
    doc = deployment()
    doc["spec"]["template"]["spec"]["containers"][0]["name"] = CONTAINER
    assert undo(doc) == doc


def deployment(**pod: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "web", "image": "web:1"}], **pod}
    return {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": spec}}}


def test_the_sidecar_may_do_nothing_that_it_does_not_need() -> None:
    context = inject(deployment(), OPTIONS)["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0  # runAsNonRoot alone would refuse an image whose user is a name
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not context.get("privileged")


def test_the_sidecar_gets_the_image_and_the_pull_policy_asked_for() -> None:
    doc = inject(deployment(), Options(image="registry/proxy:2", pull_policy="Never"))
    sidecar = doc["spec"]["template"]["spec"]["containers"][0]
    assert (sidecar["image"], sidecar["imagePullPolicy"]) == ("registry/proxy:2", "Never")


# --- YAML text ---------------------------------------------------------------------------------------------------

PLAIN = """\
# The page.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web  # as in the Service
spec:
  # Few are enough.
  replicas: 2
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        # The app itself.
        - name: web
          image: "web:1"
          args: ['--rate', "200", plain]
          command: [sh, -c]
        # Writes logs.
        - name: logger
          image: logger:1
# The end.
"""
SERVICE = """\
# Found by this name.
kind:   Service
metadata: { name: 'web' }
spec:
    ports:
    -   port: 80
    selector: ~
"""
STYLES = {
    "lists stand in": PLAIN,
    "lists are flush with their key": """\
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        ports:
        - containerPort: 80  # http
""",
    "four spaces": """\
kind: Deployment
metadata:
    name: web
spec:
    template:
        spec:
            containers:
                - name: web
                  ports:
                      - containerPort: 80  # http
""",
    "four spaces, lists flush": """\
kind: Deployment
metadata:
    name: web
spec:
    template:
        spec:
            containers:
            - name: web
              ports:
              - containerPort: 80  # http
""",
    # What looks like an indented list is the text of a script.
    "flush, with a script that is indented": """\
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        args:
        - |
          key:
            - value
""",
    "starts with a marker": "---\n" + PLAIN,
    "comment before the first marker": "# Made by hand.\n---\n" + PLAIN,
    "comment on the marker": "--- # web\n" + PLAIN,
    "marker at the end": PLAIN + "---\n",
    "document between markers is empty": PLAIN + "---\n---\n" + SERVICE,
    "document of comments only": PLAIN + "---\n# Nothing here.\n---\n" + SERVICE,
    "ends with an end marker": PLAIN + "...\n",
    "no line break at the end": PLAIN.removesuffix("\n# The end.\n"),
    "line breaks of Windows": PLAIN.replace("\n", "\r\n"),
    "another kind, oddly formatted": PLAIN + "---\n" + SERVICE,
    "text in another kind that looks like a marker's neighbour": PLAIN
    + "---\nkind: ConfigMap\ndata:\n  a: |\n    ---\n",
}


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def names_of_containers(doc: dict[str, Any]) -> list[str]:
    return [c["name"] for c in doc["spec"]["template"]["spec"]["containers"]]


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_text_comes_back_byte_for_byte_after_inject_and_undo(text: str) -> None:
    injected = rewrite(text, OPTIONS)
    assert CONTAINER in names_of_containers(next(d for d in documents(injected) if d))
    assert rewrite(injected, None) == text


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_text_injected_twice_is_text_injected_once(text: str) -> None:
    once = rewrite(text, OPTIONS)
    assert rewrite(once, OPTIONS) == once


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_injecting_only_adds_lines_so_that_comments_order_quotes_and_indentation_stay(text: str) -> None:
    # Only whole lines are added: what was there is a subsequence of what is there.
    rest = iter(rewrite(text, OPTIONS).splitlines())
    missing = [line for line in text.splitlines() if line not in rest]
    assert missing == []


def test_text_is_injected_just_as_the_document_is() -> None:
    assert documents(rewrite(PLAIN, OPTIONS)) == [inject(d, OPTIONS) for d in documents(PLAIN)]


def test_every_deployment_of_a_stream_is_injected_and_nothing_else_is_touched() -> None:
    stream = f"{SERVICE}---\n{PLAIN}---\n{SERVICE}---\n{PLAIN.replace('name: web', 'name: other')}"
    injected = rewrite(stream, OPTIONS)
    assert injected.count(SERVICE) == 2
    service, web, _, other = documents(injected)
    assert service == documents(SERVICE)[0]
    assert names_of_containers(web) == [CONTAINER, "web", "logger"]
    assert names_of_containers(other) == [CONTAINER, "other", "logger"]
    assert rewrite(injected, None) == stream


def test_the_new_sidecar_replaces_the_old_one_and_comments_stay() -> None:
    old = rewrite(PLAIN, Options(image="proxy:old"))
    new = rewrite(old, Options(image="proxy:new"))
    assert "proxy:old" not in new
    assert comments(new) == comments(PLAIN)
    assert rewrite(new, None) == PLAIN


def test_a_sidecar_that_was_moved_goes_back_to_the_front_and_comments_stay() -> None:
    doc = """\
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        balance-lab/injected: v1-metadata-created
    spec:
      containers:
      - name: web  # the app
      - name: ewma-proxy
"""
    injected = rewrite(doc, OPTIONS)
    assert names_of_containers(documents(injected)[0]) == [CONTAINER, "web"]
    assert "- name: web  # the app\n" in injected


LIST = """\
apiVersion: v1
kind: List
items:
- kind: Service
  metadata:
    name: web
- kind: Deployment
  metadata:
    name: web
  spec:
    template:
      metadata:
        annotations:
          team: a  # who to call
      spec:
        containers:
        # The app itself.
        - name: web
          image: 'web:1'
"""


def test_a_list_is_looked_into() -> None:
    injected = rewrite(LIST, OPTIONS)
    service, web = documents(injected)[0]["items"]
    assert service == {"kind": "Service", "metadata": {"name": "web"}}
    assert names_of_containers(web) == [CONTAINER, "web"]
    assert web["spec"]["template"]["metadata"]["annotations"] == {"team": "a", ANNOTATION: "v2.initContainers"}
    assert comments(injected) == comments(LIST)
    assert rewrite(injected, None) == LIST


def test_anchors_stay_anchors() -> None:
    text = """\
kind: Deployment
spec:
  selector:
    matchLabels: &labels
      app: web
  template:
    metadata:
      labels: *labels
    spec:
      containers:
      - name: web
"""
    injected = rewrite(text, OPTIONS)
    assert "labels: *labels\n" in injected
    assert rewrite(injected, None) == text


def test_json_stays_readable_as_yaml_with_the_same_content() -> None:
    # YAML is written, so spaces and quotes may differ from what a JSON writer would choose.
    text = '{"kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:1"}]}}}}\n'
    injected = rewrite(text, OPTIONS)
    assert documents(injected) == [inject(d, OPTIONS) for d in documents(text)]
    assert documents(rewrite(injected, None)) == documents(text)


def test_uneven_indentation_is_evened_out_but_content_and_comments_stay() -> None:
    # The one case in which formatting is lost: a Deployment that mixes two styles gets the one it uses most.
    text = """\
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: web
        env:
          - name: A  # first
        ports:
        - containerPort: 80
"""
    back = rewrite(rewrite(text, OPTIONS), None)
    assert documents(back) == documents(text)
    assert comments(back) == comments(text)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_undo_leaves_the_labs_own_manifests_as_they_are(path: Path) -> None:
    assert rewrite(path.read_text(), None) == path.read_text()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_labs_own_manifests_come_back_byte_for_byte_or_are_refused(path: Path) -> None:
    text = path.read_text()
    if path.name in CLIENTS:
        injected = rewrite(text, OPTIONS)
        assert comments(injected) == comments(text)
        assert rewrite(injected, None) == text
    elif "kind: Deployment" in text:
        with pytest.raises(InjectError, match="automountServiceAccountToken is false"):
            rewrite(text, OPTIONS)
    else:
        with pytest.raises(InjectError, match="no Deployment to inject into"):
            rewrite(text, OPTIONS)


def test_the_clients_are_among_the_manifests() -> None:
    # Otherwise the test above would quietly test nothing.
    assert set(CLIENTS) < {path.name for path in MANIFESTS}


# --- Bad input ---------------------------------------------------------------------------------------------------


def manifest(template: str) -> str:
    return f"kind: Deployment\nmetadata: {{name: web}}\nspec: {{template: {template}}}\n"


POD = "spec: {containers: [{name: web}]}"

BAD_TEXT = {
    "broken YAML": ("kind: Deployment\nspec: [1\nmore: 2\n", r"^line 3: not YAML: "),
    "broken YAML in a later document": (f"{PLAIN}---\nkind: [\n}}\n", r"^line 25: not YAML: "),
    "tab": ("spec:\n\t- b\n", r"^line 2: not YAML: .*'\\t'"),
    "key twice": ("kind: A\nkind: B\n", r'^line 2: not YAML: found duplicate key "kind"'),
    "unknown alias": ("kind: *there\n", r"^line 1: not YAML: found undefined alias"),
    "bytes that are no text": ("kind: \x00\n", r"^not YAML: "),
    "no such date": ("kind: A\nat: 2024-99-99\n", r"^not YAML: "),
    "empty": ("", r"^there is no manifest; "),
    "white space": (" \n\n", r"^there is no manifest; "),
    "comments only": ("# a\n---\n# b\n", r"^there is no manifest; "),
    "list": ("- kind: Deployment\n", r"^a document is no manifest but a list; "),
    "words": ("hello there\n", r"^a document is no manifest but str; "),
}
BAD_TO_INJECT = {
    "no Deployment": (
        "kind: Service\n---\nkind: ConfigMap\n",
        r"^there is no Deployment .* found: Service, ConfigMap$",
    ),
    "no kind": ("metadata: {name: web}\n", r"^there is no Deployment .* found: \?$"),
    "List without Deployment": ("kind: List\nitems: [words]\n", r"^there is no Deployment .* found: List$"),
    "hostNetwork": (
        manifest("{spec: {hostNetwork: true, containers: [{name: a}]}}"),
        r"^Deployment/web: has hostNetwork",
    ),
    "no token": (
        manifest("{spec: {automountServiceAccountToken: false, containers: [{name: a}]}}"),
        r"^Deployment/web: automountServiceAccountToken is false",
    ),
    "container of that name": (
        manifest("{spec: {containers: [{name: web}, {name: ewma-proxy}]}}"),
        r"^Deployment/web: has a container ewma-proxy of its own",
    ),
    "init container of that name": (
        manifest("{spec: {containers: [{name: web}], initContainers: [{name: ewma-proxy}]}}"),
        r"^Deployment/web: has a container ewma-proxy of its own",
    ),
    "no containers": (manifest("{spec: {}}"), r"^Deployment/web: has no spec\.template\.spec\.containers"),
    "empty containers": (manifest("{spec: {containers: []}}"), r"^Deployment/web: has no spec\.template\.spec\.c"),
    "containers of words": (manifest("{spec: {containers: [web]}}"), r"^Deployment/web: a container is not a mapping"),
    "template of words": (manifest("words"), r"^Deployment/web: has no spec\.template\.spec\.containers"),
    "no spec": ("kind: Deployment\n", r"^Deployment/\?: has no spec\.template\.spec\.containers"),
    "spec of words": ("kind: Deployment\nspec: words\n", r"^Deployment/\?: has no spec\.template\.spec\.containers"),
    "null metadata": (manifest(f"{{metadata: null, {POD}}}"), r"^Deployment/web: spec\.template\.metadata is empty"),
    "metadata of words": (manifest(f"{{metadata: words, {POD}}}"), r"^Deployment/web: .*metadata is not a mapping"),
    "null annotations": (
        manifest(f"{{metadata: {{annotations: null}}, {POD}}}"),
        r"^Deployment/web: spec\.template\.metadata\.annotations is empty",
    ),
    "list of annotations": (
        manifest(f"{{metadata: {{annotations: [a]}}, {POD}}}"),
        r"^Deployment/web: .*annotations is not a mapping",
    ),
}


@pytest.mark.parametrize("options", [OPTIONS, None], ids=["inject", "undo"])
@pytest.mark.parametrize(("text", "why"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_what_is_no_manifest_is_refused_in_one_line(text: str, why: str, options: Options | None) -> None:
    with pytest.raises(InjectError, match=why) as e:
        rewrite(text, options)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "why"), BAD_TO_INJECT.values(), ids=BAD_TO_INJECT)
def test_what_the_sidecar_cannot_go_into_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(InjectError, match=why) as e:
        rewrite(text, OPTIONS)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "why"), BAD_TO_INJECT.values(), ids=BAD_TO_INJECT)
def test_undo_finds_nothing_to_do_where_nothing_could_be_injected(text: str, why: str) -> None:
    assert rewrite(text, None) == text


def test_metadata_that_is_null_at_the_top_costs_only_the_name() -> None:
    with pytest.raises(InjectError, match=r"^Deployment/\?: has hostNetwork"):
        inject({**deployment(hostNetwork=True), "metadata": None}, OPTIONS)


def test_one_bad_deployment_of_many_stops_all_so_that_nothing_is_half_done() -> None:
    with pytest.raises(InjectError, match="hostNetwork"):
        rewrite(PLAIN + "---\n" + manifest("{spec: {hostNetwork: true, containers: [{name: a}]}}"), OPTIONS)

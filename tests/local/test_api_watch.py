"""Watches over HTTP, as clients see them: bookmarks, and a version that is too old."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import kubernetes.client
import kubernetes.watch
import pytest

from tests.local.api_support import Server, pod

NS = "watched"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with a short memory and frequent bookmarks."""
    server = Server(tmp_path_factory.mktemp("api"), history_limit=4, bookmark_every_s=0.1)
    server.on_loop(lambda store: store.create("namespaces", None, {"metadata": {"name": NS}}))
    yield server
    server.close()


def first_event(server: Server, **params: str) -> dict[str, Any]:
    with server.http() as http:
        query = {"watch": "1", "timeoutSeconds": "5", **params}
        with http.stream("GET", f"/api/v1/namespaces/{NS}/pods", params=query) as answer:
            if answer.status_code != 200:
                return {"type": "ERROR", "object": json.loads(answer.read())}
            return dict(json.loads(next(answer.iter_lines())))


def test_a_quiet_watch_tells_the_version_by_bookmarks(server: Server) -> None:
    with server.http() as http:
        version = http.get(f"/api/v1/namespaces/{NS}/pods").json()["metadata"]["resourceVersion"]
    event = first_event(server, resourceVersion=version, allowWatchBookmarks="true")
    assert event["type"] == "BOOKMARK"
    assert int(event["object"]["metadata"]["resourceVersion"]) >= int(version)


def test_a_watch_from_a_version_that_is_too_old_is_410_gone(server: Server) -> None:
    with server.http() as http:
        version = http.get(f"/api/v1/namespaces/{NS}/pods").json()["metadata"]["resourceVersion"]
    for i in range(8):
        server.on_loop(lambda store, i=i: store.create("pods", NS, pod(f"p{i}")))  # type: ignore[misc]
    event = first_event(server, resourceVersion=version)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    with server.client() as api, pytest.raises(kubernetes.client.ApiException) as caught:
        list(
            kubernetes.watch.Watch().stream(
                kubernetes.client.CoreV1Api(api).list_namespaced_pod, NS, resource_version=version, timeout_seconds=5
            )
        )
    assert caught.value.status == 410

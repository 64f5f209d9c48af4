"""The web front over HTTP, with real voting and catalogue services behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from demo_app.candidates import CANDIDATES
from tests.unit.demo_app.harness import Process, running


@pytest.fixture(scope="module")
def web(voting: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    logs = tmp_path_factory.mktemp("web")
    with ExitStack() as stack:
        catalogue = stack.enter_context(running("demo_app.catalogue", logs / "catalogue"))
        host, _, port = voting.address.rpartition(":")
        env = {"VOTING_SERVICE_HOST": host, "VOTING_SERVICE_PORT": port}
        flags = ("--catalogue-target", catalogue.address)
        yield stack.enter_context(running("demo_app.web", logs / "web", *flags, **env))


@pytest.fixture
def client(web: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{web.address}", timeout=5) as client:
        yield client


def test_the_page_loads_nothing_and_says_so_in_its_headers(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert not any(word in page.text for word in ("http://", "https://", "src=", "@import", "url("))
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for path in ("/", "/api/candidates", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_candidates_come_from_the_catalogue(client: httpx.Client) -> None:
    listed = client.get("/api/candidates").json()["candidates"]
    assert listed == [{"id": c.id, "name": c.name, "emoji": c.emoji} for c in CANDIDATES]


def test_a_vote_shows_on_the_leaderboard_and_under_its_pod(client: httpx.Client) -> None:
    done = client.post("/api/vote/ramen").json()
    assert done == {"candidate": "ramen", "votes": done["votes"], "served_by": "voting-a"}
    board = client.get("/api/leaderboard").json()
    assert board["served_by"] == "voting-a"
    assert board["pods"]["voting-a"] >= 1
    assert {leader["id"]: leader["votes"] for leader in board["leaders"]}["ramen"] == done["votes"]


def test_a_failed_call_is_json_with_its_grpc_code(client: httpx.Client, voting: Process) -> None:
    failed = client.post("/api/vote/waffle")
    assert (failed.status_code, failed.json()["code"]) == (502, "INTERNAL")
    voting.admin.put("/fault", json={"failure_rate": 1})
    try:
        failed = client.post("/api/vote/pizza")
    finally:
        voting.admin.delete("/fault")
    assert (failed.status_code, failed.json()["code"]) == (503, "UNAVAILABLE")


def test_what_is_not_there_is_404_and_a_vote_must_be_posted(client: httpx.Client) -> None:
    assert client.post("/api/vote/gruel").json()["code"] == "NOT_FOUND"
    assert client.get("/api/vote/pizza").status_code == 405


def test_requests_are_counted_by_the_routes_template(client: httpx.Client, web: Process) -> None:
    before = web.samples("http_requests_total").get(("404", "POST", "/api/vote/{candidate}"), 0)
    for name in ("gruel", "mud"):
        client.post(f"/api/vote/{name}")
    assert web.samples("http_requests_total")["404", "POST", "/api/vote/{candidate}"] == before + 2

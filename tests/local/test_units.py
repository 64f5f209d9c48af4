"""The pure parts of the local cluster: rollout arithmetic, addresses, images, expansion, pod status, logs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.clusters.local.addresses import ClusterIPs, Network, Numbers, numbers_to_try
from lab.clusters.local.controllers.rollout import Size, bounds, grown, shrunk
from lab.clusters.local.images import ImageNotPresent, Images
from lab.clusters.local.kubelet import logs
from lab.clusters.local.kubelet.env import expand
from lab.clusters.local.kubelet.status import (
    ContainerState,
    PodFacts,
    Running,
    Terminated,
    Waiting,
    pod_status,
)
from lab.clusters.local.services import endpoints_of
from lab.clusters.local.tokens import Tokens


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (3, "25%", "25%", (1, 0)),
        (10, "25%", "25%", (3, 2)),
        (4, 0, 0, (0, 1)),
        (2, 1, 0, (1, 0)),
        (3, "0%", "10%", (0, 1)),
    ],
)
def test_percentages_round_surge_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert bounds(replicas, surge, unavailable) == expected


@given(st.integers(1, 20), st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(0, 20), max_size=3))
def test_a_rollout_ends_within_its_bounds_whatever_it_starts_from(
    replicas: int, surge: int, unavailable: int, old: list[int]
) -> None:
    surge, unavailable = bounds(replicas, surge, unavailable)
    new = 0
    for _ in range(200):  # each round: grow, everything becomes available, shrink
        total = new + sum(old)
        grew = grown(replicas, new, total, surge)
        assert grew == new or grew + sum(old) <= replicas + surge
        available = new + sum(old)  # before the grown pods are ready
        old = shrunk(replicas, Size(grew, new), [Size(n, n) for n in old], unavailable)
        assert new + sum(old) >= min(available, replicas - unavailable)
        new = grew
        if new == replicas and not any(old):
            return
    pytest.fail(f"no end: new {new}, old {old}")


def test_pods_that_serve_nobody_go_first() -> None:
    assert shrunk(3, Size(1, 1), [Size(2, 0), Size(3, 3)], 0) == [0, 2]


def test_a_number_given_back_is_the_last_to_be_given_out_again() -> None:
    numbers = Numbers(1, 3)
    assert [numbers.take(), numbers.take()] == [1, 2]
    numbers.give_back(1)
    assert [numbers.take(), numbers.take()] == [3, 1]
    with pytest.raises(ValueError, match="all 3 addresses are in use"):
        numbers.take()


def test_cluster_ips_honour_a_wish_and_refuse_a_stranger() -> None:
    addresses = ClusterIPs(Network(7))
    assert addresses.allocate({"spec": {}}) == "127.7.0.2"
    assert addresses.allocate({"spec": {"clusterIP": "127.7.0.9"}}) == "127.7.0.9"
    for wish, reason in (
        ("127.7.0.9", "already allocated"),
        ("127.8.0.3", "not in the range"),
        ("127.7.0.1", "2-254"),
    ):
        with pytest.raises(ValueError, match=reason):
            addresses.allocate({"spec": {"clusterIP": wish}})


def test_every_lab_number_is_tried_once_and_names_begin_apart() -> None:
    assert sorted(numbers_to_try(1000, "a")) == list(range(1, 255))
    assert len({next(numbers_to_try(1000, name)) for name in "abcdefgh"}) > 4


def test_images_map_commands_and_refuse_strangers() -> None:
    images = Images(Path("/venv/bin"))
    demo, proxy = images.find("balance-lab/demo-app:dev"), images.find("balance-lab/ewma-proxy@sha256:00")
    assert demo.env["PATH"].startswith("/venv/bin:")
    assert demo.argv(["python", "-m", "x"], ["y"]) == ["python", "-m", "x", "y"]
    assert proxy.argv(None, ["await"]) == ["/venv/bin/ewma-proxy", "await"]
    assert proxy.translate(["/ewma-proxy", "await"]) == ["/venv/bin/ewma-proxy", "await"]
    with pytest.raises(ImageNotPresent, match="nginx"):
        images.find("nginx:1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/$(A)", "1/1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $(", "$A $("),
        ("$$", "$"),
    ],
)
def test_expansion_replaces_known_names_only(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def status_of(*containers: ContainerState, over: bool = False) -> tuple[str, dict[str, str]]:
    facts = PodFacts("127.1.1.1", "127.1.0.1", "t", "BestEffort", over)
    status = pod_status(facts, containers, (), "now")
    return status["phase"], {c["type"]: c["status"] for c in status["conditions"]}


def test_phase_and_conditions_follow_the_containers() -> None:
    init, main = ContainerState("i", "x", "init"), ContainerState("m", "x", "main")
    phase, conditions = status_of(init, main)
    assert (phase, conditions["Initialized"], conditions["Ready"]) == ("Pending", "False", "False")
    init.now = done = Terminated(0, None, "Completed", "a", "b")
    assert status_of(init, main)[1]["Initialized"] == "True"
    main.now, main.ready, main.container_id = Running("t"), True, "local://1"
    phase, conditions = status_of(init, main)
    assert (phase, conditions["Ready"]) == ("Running", "True")
    main.now, main.last, main.ready = (
        Waiting("CrashLoopBackOff"),
        Terminated(1, None, "Error", "a", "b"),
        False,
    )
    assert status_of(init, main)[0] == "Running"
    main.now = main.last
    assert status_of(init, main, over=True)[0] == "Failed"
    main.now = done
    assert status_of(init, main, over=True)[0] == "Succeeded"


def test_terminating_endpoints_are_used_only_when_none_is_ready() -> None:
    def one(address: str, ready: bool, terminating: bool) -> dict[str, object]:
        return {
            "addresses": [address],
            "conditions": {"ready": ready, "serving": ready or terminating, "terminating": terminating},
        }

    ports = [{"name": "http", "port": 80}]
    leaving, good = one("1.1.1.1", False, True), one("2.2.2.2", True, False)
    assert endpoints_of([{"ports": ports, "endpoints": [leaving, good]}], "http") == [("2.2.2.2", 80)]
    assert endpoints_of([{"ports": ports, "endpoints": [leaving]}], "http") == [("1.1.1.1", 80)]
    assert endpoints_of([{"ports": ports, "endpoints": [one("3.3.3.3", False, False)]}], "http") == []
    assert endpoints_of([{"ports": ports, "endpoints": [good]}], "other") == []


def test_tokens_end_when_revoked() -> None:
    tokens = Tokens()
    token = tokens.issue_for_service_account("ns", "name")
    assert tokens.user(token) == "system:serviceaccount:ns:name"
    assert tokens.user(token[:-1]) is None
    tokens.revoke(token)
    assert tokens.user(token) is None
    assert tokens.user(tokens.issue("x", lifetime_s=0)) is None


def test_logs_stay_bounded_and_a_follower_passes_from_part_to_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PART_BYTES", 2000)

    async def play() -> bytes:
        run = logs.ContainerLogs(tmp_path).new_run()
        pipe = await run.open_pipe()
        read = run.read(follow=True, tail=None, since_seconds=None, timestamps=False)
        followed = asyncio.create_task(_all(read))
        for number in range(200):
            os.write(pipe, b"line %d\n" % number)
            await asyncio.sleep(0)  # the reader's turn
            await asyncio.sleep(0)
        os.write(pipe, b"no newline")
        os.close(pipe)
        await run.close()
        tail = await _all(run.read(follow=False, tail=2, since_seconds=None, timestamps=False))
        assert tail == b"line 199\nno newline\n"
        return await followed

    async def _all(pieces) -> bytes:  # type: ignore[no-untyped-def]
        return b"".join([piece async for piece in pieces])

    followed = asyncio.run(play())
    assert followed.splitlines()[-2:] == [b"line 199", b"no newline"]
    assert len(followed.splitlines()) == 201
    assert len(list(tmp_path.iterdir())) == 2
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 2 * 2100

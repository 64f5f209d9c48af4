"""`ewma-proxy init` and the kernel's rules: written twice is once, undone is as before, beside others' rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.netns.support import World, skip_unless_possible

FLAGS = ("--skip-ports", "22,5000-5010", "--skip-cidrs", "10.96.0.0/12,192.0.2.1,fd00::/9", "--skip-uids", "7")


@pytest.fixture
def pod() -> Iterator[World]:
    skip_unless_possible()
    w = World()
    try:
        w.up()
        yield w
    finally:
        w.down()


def ruleset(pod: World) -> str:
    return pod.run("nft", "list", "ruleset")


def test_the_rules_are_those_that_dry_run_prints(pod: World) -> None:
    text = pod.init("--dry-run", *FLAGS)
    assert ruleset(pod) == ""
    pod.init(*FLAGS)
    written = ruleset(pod)
    pod.init("--undo")
    file = pod.dir / "rules.nft"
    file.write_text(text)
    pod.run("nft", "-f", str(file))
    assert ruleset(pod) == written
    assert "redirect to :4140" in written


def test_twice_is_once_and_new_options_replace_old_ones(pod: World) -> None:
    pod.init(*FLAGS)
    once = ruleset(pod)
    pod.init(*FLAGS)
    assert ruleset(pod) == once
    pod.init()
    assert "5000" not in ruleset(pod)


def test_undo_leaves_others_rules_as_they_were_and_twice_is_no_error(pod: World) -> None:
    pod.run("nft", "add table inet theirs; add chain inet theirs c { type filter hook output priority 0 ; }")
    pod.run("nft", "add rule inet theirs c tcp dport 9 drop")
    before = ruleset(pod)
    pod.init(*FLAGS)
    assert ruleset(pod) != before
    pod.init("--undo")
    assert ruleset(pod) == before
    pod.init("--undo")
    assert ruleset(pod) == before


@pytest.mark.parametrize("program", ["iptables-legacy", "iptables-nft"])
def test_an_iptables_program_writes_the_same_once_and_takes_it_back(pod: World, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"no {program}: apt-get install iptables")

    def saved() -> list[str]:
        texts = [pod.run(f"{p}-save") for p in (program, program.replace("iptables", "ip6tables"))]
        return [line for text in texts for line in text.splitlines() if not line.startswith("#")]

    for p in (program, program.replace("iptables", "ip6tables")):
        pod.run(p, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "RETURN")
    before = saved()
    pod.init("--with", program, *FLAGS)
    once = saved()
    assert sum("REDIRECT" in line for line in once) == 2
    pod.init("--with", program, *FLAGS)
    assert saved() == once
    pod.init("--with", program, "--undo")
    assert saved() == before
    pod.init("--with", program, "--undo")
    assert saved() == before


def test_without_the_right_it_is_one_line_and_code_3(pod: World) -> None:
    command = [str(pod.dir / "ewma-proxy"), "init"]
    drop = ["setpriv", "--reuid", "65534", "--clear-groups", *command]
    done = subprocess.run(
        ["ip", "netns", "exec", pod.pod, *drop], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 3
    assert "CAP_NET_ADMIN" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_right_is_enough_without_being_root(pod: World) -> None:
    caps = ["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"]
    pod.run("setpriv", "--reuid", "65534", "--clear-groups", *caps, str(pod.dir / "ewma-proxy"), "init")
    assert "redirect to :4140" in ruleset(pod)

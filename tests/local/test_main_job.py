"""The main job as a person runs it: `lab up`, a look around, `lab down`. Real processes, real traffic, no doubles.

The tests of this file share one lab and run in order: each leaves it as the next one expects it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from ruamel.yaml import YAML

from lab import scenarios
from lab.report import Report, picture
from tests import pages
from tests.support import wait_until

LAB = Path(sys.executable).with_name("lab")
NAME = f"job-{os.getpid()}"
SCHEMA = json.loads((Path(__file__).parents[2] / "lab/report/schema.json").read_text())


@dataclass
class Done:
    code: int
    out: str
    err: str
    seconds: float


class Shell:
    """Runs `lab` with a state folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "XDG_STATE_HOME": str(home), "XDG_RUNTIME_DIR": str(home), "COLUMNS": "80"}

    def run(self, *args: str, stdin: str | None = None, timeout_s: float = 150) -> Done:
        start = time.monotonic()
        done = subprocess.run(
            [str(LAB), *args], env=self.env, input=stdin, capture_output=True, text=True, timeout=timeout_s
        )
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

    def lab(self, *args: str, **more: Any) -> Done:
        return self.run(*args, "--name", NAME, **more)

    def processes(self) -> list[str]:
        """What runs with this lab's state folder in its environment."""
        found = []
        for p in psutil.process_iter():
            try:
                if p.environ().get("XDG_STATE_HOME") == str(self.home) and p.pid != os.getpid():
                    found.append(f"{p.pid} {' '.join(p.cmdline())[:80]}")
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("job"))
    yield shell
    shell.lab("down")
    assert shell.processes() == []


@pytest.fixture(scope="module")
def up(shell: Shell) -> Done:
    """The first `lab up`."""
    return shell.lab("up", "--json", str(shell.home / "up.json"))


def show(done: Done) -> str:
    return f"code {done.code} after {done.seconds:.1f} s\n{done.out}\n{done.err}"


def test_lab_up_shows_pinned_then_even_within_two_minutes(shell: Shell, up: Done) -> None:
    assert up.code == 0, show(up)
    assert up.seconds < 120
    assert up.out.index("PINNED") < up.out.index("EVEN"), show(up)
    reports = json.loads((shell.home / "up.json").read_text())
    for report in reports.values():
        jsonschema.validate(report, SCHEMA)
        assert report["requests"] >= 300
        assert len(report["pods"]) == 3
    pinned, even = reports["pinned"], reports["even"]
    assert (pinned["verdict"], pinned["mesh"]) == ("pinned", False)
    assert max(p["share"] for p in pinned["pods"]) >= 0.99
    assert (even["verdict"], even["mesh"]) == ("even", True)
    assert even["effective_pods"] >= 2.9
    assert even["sources"]["agree"], even["sources"]
    assert even["errors"], "the failure that is there to be found has not shown"


def test_the_first_picture_comes_within_a_minute_and_lines_fit_80_columns(up: Done) -> None:
    seconds = [float(m) for m in re.findall(r"^ *([\d.]+) s  turning the sidecar on", up.err, re.M)]
    assert seconds, show(up)
    assert seconds[0] < 60
    assert max(map(len, up.out.splitlines())) <= 80


def test_a_second_lab_up_takes_seconds_and_restarts_nothing(shell: Shell, up: Done) -> None:
    before = pod_names(shell)
    again = shell.lab("up")
    assert again.code == 0, show(again)
    assert again.seconds < 20
    assert pod_names(shell) == before


def pod_names(shell: Shell) -> list[str]:
    pods = kubectl(shell, "get", "pods", "-n", "balance-lab", "-o", "json")
    found = json.loads(pods)["items"]
    return sorted(f"{p['metadata']['name']} {p['status']['containerStatuses'][0]['restartCount']}" for p in found)


def kubectl(shell: Shell, *args: str) -> str:
    status = json.loads(shell.lab("status", "--json", "-").out)
    env = {**shell.env, "KUBECONFIG": status["kubeconfig"]}
    program = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([str(program), *args], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_names_every_deployment_with_its_sidecar(shell: Shell, up: Done) -> None:
    status = json.loads(shell.lab("status", "--json", "-").out)
    assert status["state"] == "up"
    sidecars = {d["name"]: d["sidecar"] for d in status["deployments"]}
    assert sidecars == {"bot": True, "catalogue": False, "voting": False, "web": True}
    assert all(d["ready"] == d["pods"] for d in status["deployments"])


def test_a_sidecar_that_watches_the_api_over_tls_needs_less_than_6_mb_idle_and_8_mb_at_work(
    shell: Shell, up: Done
) -> None:
    page = kubectl(shell, "get", "--raw", "/api/v1/nodes/local/proxy/metrics/resource")
    found = re.findall(r'container_memory_working_set_bytes\{container="ewma-proxy",.*pod="(\w+)-.*\} ([\d.e+]+)', page)
    memory = {app: float(n) for app, n in found}
    assert set(memory) == {"web", "bot"}, page
    assert memory["web"] <= 6e6, "nobody has opened the page"
    assert memory["bot"] <= 8e6, "200 requests a second"


def test_the_page_takes_votes(shell: Shell, up: Done) -> None:
    found = re.search(r"vote yourself\s+(http://\S+)", up.out)
    assert found, show(up)
    with urllib.request.urlopen(found[1], timeout=10) as page:
        assert "<html" in page.read().decode().lower()


def test_lab_stat_finds_the_route_that_fails(shell: Shell, up: Done) -> None:
    done = shell.lab("stat", "--window", "3", "--json", "-")
    assert done.code == 0, show(done)
    routes = json.loads(done.out)["routes"]
    assert routes[0]["route"].endswith("VoteWaffle")
    assert routes[0]["success"] == 0
    assert all(r["success"] == 1 for r in routes[1:])


def test_a_manifest_applied_through_lab_inject_gets_the_sidecar(shell: Shell, up: Done) -> None:
    live = kubectl(shell, "get", "deployment", "web", "-n", "balance-lab", "-o", "yaml")
    bare = shell.run("inject", "--undo", stdin=live).out
    assert "ewma-proxy" not in bare
    done = shell.run("inject", stdin=bare)
    assert done.code == 0, show(done)
    injected = YAML(typ="safe").load(done.out)
    assert next(c["name"] for c in injected["spec"]["template"]["spec"]["containers"]) == "ewma-proxy"
    assert shell.run("inject", "--undo", stdin=done.out).out == bare


@pytest.mark.parametrize("name", scenarios.names())
def test_the_claim_of_the_scenario_holds(shell: Shell, up: Done, name: str) -> None:
    done = shell.lab("scenario", "run", name, "--json", "-")
    assert done.code == 0, show(done)
    report = json.loads(done.out)
    jsonschema.validate(report, SCHEMA)
    assert report["scenario"] == name
    assert report["claim"]["holds"]
    shown = pages.outputs(pages.ROOT / f"scenarios/{name}/README.md")[f"lab scenario run {name}"]
    printed = picture(Report.from_json(report), width=80)
    assert pages.shape(shown) == pages.shape(printed), "run scripts/readme-output and look at what has changed"


def test_the_verdict_of_a_pinned_service_is_exit_code_1(shell: Shell, up: Done) -> None:
    off = shell.lab("mesh", "off")
    assert off.code == 0, show(off)
    verdict = shell.lab("verdict", "voting", "--window", "3", "--json", "-")
    assert verdict.code == 1, show(verdict)
    assert json.loads(verdict.out)["verdict"] == "pinned"


def test_down_after_kill_9_leaves_nothing_and_a_second_down_says_so(shell: Shell, up: Done) -> None:
    status = json.loads(shell.lab("status", "--json", "-").out)
    found = re.search(r"pid (\d+)", status["detail"])
    assert found, status
    os.kill(int(found[1]), signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(int(found[1])), 10, "the daemon is dead")
    broken = shell.lab("status")
    assert broken.code == 3, show(broken)
    down = shell.lab("down")
    assert down.code == 0, show(down)
    assert shell.processes() == []
    assert not list(shell.home.glob("grpc-balance-lab/*"))
    again = shell.lab("down")
    assert (again.code, again.out.strip()) == (0, "nothing of this lab is running")


def test_a_command_that_needs_the_lab_says_how_to_start_it(shell: Shell, up: Done) -> None:
    done = shell.lab("verdict", "voting")
    assert done.code == 3
    assert "start it with: lab up" in done.err
    assert done.err.count("\n") == 1


def test_the_readme_shows_what_lab_up_prints(up: Done) -> None:
    shown = pages.shape(pages.outputs(pages.ROOT / "README.md")["make lab-up"])
    assert shown == pages.shape(up.out.replace(f" --name {NAME}", "")), (
        "run scripts/readme-output and look at what has changed"
    )

"""Every folder of scenarios/ makes a claim that numbers can decide, and is found by the names people use for it.

What is wrong with a folder or a name is said as bad input, never as a traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from lab import manifests, scenarios
from lab.errors import BadInput
from lab.scenarios import Scenario, load, names
from lab.steps.observe import brief
from lab.verdict import VerdictName
from lab.verdict.intervals import needed, quantile

GOOD = """\
service = "voting"
mesh = true

[claim]
text = "All is well"
verdict = "even"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty scenarios/."""
    monkeypatch.setattr(scenarios, "HOME", tmp_path)
    return tmp_path


def write(home: Path, name: str, settings: str | bytes) -> None:
    (home / name).mkdir()
    (home / name / "scenario.toml").write_bytes(settings if isinstance(settings, bytes) else settings.encode())


@pytest.mark.parametrize("scenario", [load("02-even"), brief(load("02-even"))], ids=["whole", "brief"])
def test_the_window_holds_more_requests_than_it_takes_to_show_three_pods_even(scenario: Scenario) -> None:
    (bot,) = (m for m in manifests.load() if m["kind"] == "Deployment" and m["metadata"]["name"] == "bot")
    flag, rate = bot["spec"]["template"]["spec"]["containers"][0]["args"]
    assert flag == "--rate"
    assert float(rate) * scenario.window_s > 1.25 * needed(3, scenario.margin, quantile(0.99, 3))


# --- The project's own -------------------------------------------------------------------------------------------


def test_the_story_is_there() -> None:
    # Otherwise the tests over all of them would quietly test nothing.
    assert {"01-pinned", "02-even"} <= set(names())


def test_every_folder_is_a_scenario() -> None:
    folders = {p.name for p in scenarios.HOME.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))}
    assert folders == set(names())


@pytest.mark.parametrize("name", names())
def test_every_scenario_loads_and_its_claim_is_numeric(name: str) -> None:
    claim = load(name).claim
    limits = (claim.min_largest_share, claim.max_effective_pods, claim.min_effective_pods)
    assert claim.text
    assert claim.verdict in get_args(VerdictName)
    assert any(isinstance(limit, int | float) for limit in limits)


@pytest.mark.parametrize("name", names())
def test_every_claim_is_possible(name: str) -> None:
    claim = load(name).claim
    assert claim.min_largest_share is None or 0 < claim.min_largest_share <= 1
    assert claim.max_effective_pods is None or claim.max_effective_pods >= 1
    assert claim.min_effective_pods is None or claim.min_effective_pods >= 1


@pytest.mark.parametrize("name", names())
def test_every_scenario_asks_for_enough_requests_and_warms_up(name: str) -> None:
    scenario = load(name)
    assert scenario.claim.min_requests >= 300
    assert scenario.warm_up_s > 0
    assert scenario.window_s > 0
    assert 0 < scenario.margin < 1


@pytest.mark.parametrize("name", names())
def test_a_scenario_carries_its_readme_where_there_is_one(name: str) -> None:
    readme = scenarios.HOME / name / "README.md"
    assert load(name).readme == (readme.read_text() if readme.exists() else "")


def test_the_first_scenario_is_without_and_the_second_with_sidecars() -> None:
    assert not load("01-pinned").mesh
    assert load("02-even").mesh


# --- Names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_a_scenario_is_found_by_its_name_its_number_and_the_rest(name: str) -> None:
    number, rest = name.split("-", 1)
    assert load(name) == load(number) == load(rest)
    assert load(number).name == name


def test_a_name_may_have_more_than_one_dash(home: Path) -> None:
    write(home, "03-one-slow-pod", GOOD)
    assert load("one-slow-pod").name == "03-one-slow-pod"
    with pytest.raises(BadInput):
        load("slow")


@pytest.mark.parametrize("name", ["99", "pinne", "", "1", "../scenarios/01-pinned", "01-pinned/"])
def test_an_unknown_name_is_bad_input_and_those_that_exist_are_named(name: str) -> None:
    with pytest.raises(BadInput) as e:
        load(name)
    assert repr(name) in e.value.message
    assert all(known in e.value.hint for known in names())


def test_a_name_that_two_scenarios_share_is_bad_input(home: Path) -> None:
    write(home, "01-even", GOOD)
    write(home, "02-even", GOOD)
    with pytest.raises(BadInput, match="01-even, 02-even"):
        load("even")
    assert load("02").name == "02-even"


def test_scenarios_are_listed_in_order_and_other_folders_are_none(home: Path) -> None:
    write(home, "10-b", GOOD)
    write(home, "02-a", GOOD)
    (home / "03-notes").mkdir()
    assert names() == ["02-a", "10-b"]


# --- Files -------------------------------------------------------------------------------------------------------


def test_what_is_not_set_has_a_default(home: Path) -> None:
    write(home, "01-a", GOOD)
    scenario = load("01-a")
    assert (scenario.warm_up_s, scenario.window_s, scenario.readme) == (2.0, 10.0, "")
    assert scenario.claim.min_requests == 300
    assert scenario.claim.min_effective_pods is None


def test_the_readme_is_read_along(home: Path) -> None:
    write(home, "01-a", GOOD)
    (home / "01-a" / "README.md").write_text("# Words\n")
    assert load("01-a").readme == "# Words\n"


@pytest.mark.parametrize(
    "settings",
    [
        "service = ",
        "service = 'a'\nservice = 'b'\n",
        "",
        'service = "voting"\nmesh = true\n',
        'service = "voting"\nmesh = true\nclaim = "words"\n',
        GOOD.replace('service = "voting"\n', ""),
        GOOD.replace('verdict = "even"\n', ""),
        GOOD + "min_happiness = 1\n",
        "typo = 1\n" + GOOD,
        'name = "other"\n' + GOOD,
        b"service = '\xff'\n",
    ],
    ids=[
        "no TOML",
        "key twice",
        "empty",
        "no claim",
        "claim of words",
        "no service",
        "no verdict",
        "unknown limit",
        "unknown setting",
        "name set",
        "no UTF-8",
    ],
)
def test_a_broken_file_is_bad_input_that_names_the_file(home: Path, settings: str | bytes) -> None:
    write(home, "01-broken", settings)
    with pytest.raises(BadInput) as e:
        load("broken")
    assert str(home / "01-broken" / "scenario.toml") in e.value.message
    assert len(str(e.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_bad_input(home: Path) -> None:
    (home / "01-a" / "scenario.toml").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"scenario\.toml cannot be read"):
        load("01")

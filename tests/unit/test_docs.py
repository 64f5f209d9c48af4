"""What README and docs say is so: links lead somewhere, commands exist, every scenario explains itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from lab.cli import root
from tests import pages
from tests.pages import PAGES, ROOT, SCENARIOS

SECTIONS = ("Claim", "Why", "Command", "Expected output", "Clean-up")
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
ROOMS = ("bench/", "demo_app/", "docs/", "lab/", "proxy/", "scenarios/", "scripts/", "tests/")

each_page = pytest.mark.parametrize("page", PAGES, ids=pages.name)


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", pages.prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{pages.name(page)}: the link {target} leads nowhere"
        if anchor:
            assert anchor in headings(there), f"{pages.name(page)}: {pages.name(there)} has no heading #{anchor}"


def headings(page: Path) -> set[str]:
    """As anchors."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in found}


@each_page
def test_every_path_that_is_named_exists(page: Path) -> None:
    for span in pages.code_spans(page):
        if not re.fullmatch(r"[\w./-]+", span) or not span.startswith(ROOMS):
            continue
        assert (ROOT / span).exists(), f"{pages.name(page)} names `{span}`, which does not exist"


@each_page
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    shown = [*pages.code_spans(page), *pages.shell_lines(page), *pages.outputs(page)]
    for line in shown:
        for command in re.split(r"&&|\|\||[|;]", line):
            words = shlex.split(command, comments=True)
            if words[:1] == ["lab"]:
                problem = lab_problem(words[1:])
                assert not problem, f"{pages.name(page)} shows `{line}`: {problem}"
            elif words[:1] == ["make"]:
                unknown = {w for w in words[1:] if re.fullmatch(r"[a-z-]+", w)} - TARGETS
                assert not unknown, f"{pages.name(page)} shows `{line}`, but the Makefile has no target {unknown}"


def lab_problem(words: list[str]) -> str:
    """What is wrong with `lab WORDS`; a command without its arguments is a name, and right."""
    command: click.Command = root
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"no such command {words[0]!r}"
        command, words = found, words[1:]
    if not words or "…" in words or isinstance(command, click.Group):
        return ""
    try:
        command.make_context("lab", list(words), resilient_parsing=False)
    except click.exceptions.Exit:
        return ""  # --help
    except click.MissingParameter as e:
        return "" if all(w.startswith("-") for w in words) else e.format_message()
    except click.ClickException as e:
        return e.format_message()
    return ""


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    assert "explode" in lab_problem(["explode"])
    assert "--nonsense" in lab_problem(["up", "--nonsense"])
    assert "sideways" in lab_problem(["mesh", "sideways"])
    assert lab_problem(["verdict", "voting", "--window", "30", "--json", "-"]) == ""


@pytest.mark.parametrize("folder", SCENARIOS, ids=lambda f: f.name)
def test_every_scenario_has_settings_and_a_readme_with_all_sections(folder: Path) -> None:
    assert (folder / "scenario.toml").exists(), f"scenarios/{folder.name} has no scenario.toml"
    readme = folder / "README.md"
    assert readme.exists(), f"scenarios/{folder.name} has no README.md; write one with the sections {SECTIONS}"
    found = re.findall(r"^## (.+)$", readme.read_text(), re.M)
    missing = [s for s in SECTIONS if s not in found]
    assert not missing, f"scenarios/{folder.name}/README.md lacks the sections {missing}"
    command = f"lab scenario run {folder.name}"
    output = pages.outputs(readme).get(command, "")
    assert output, f"scenarios/{folder.name}/README.md shows no output of: {command}; run scripts/readme-output"


def test_the_readme_shows_its_commands_with_their_output() -> None:
    shown = pages.outputs(ROOT / "README.md")
    for command in ("make lab-up", "make lab-down"):
        assert shown.get(command, "").strip(), f"README.md shows no output of: {command}; run scripts/readme-output"


def test_the_readme_lists_every_command_of_lab() -> None:
    spans = " ".join(pages.code_spans(ROOT / "README.md"))
    for name in root.list_commands(click.Context(root)):
        assert f"lab {name}" in spans, f"README.md does not list `lab {name}`; add a line to its table of commands"

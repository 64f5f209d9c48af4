"""The pages people read, taken apart for the tests: links, blocks, commands, and the output that is shown.

Knows Markdown as we write it; nothing of the lab.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = sorted(p for p in (ROOT / "scenarios").iterdir() if p.is_dir() and not p.name.startswith("_"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(folder / "README.md" for folder in SCENARIOS)]

_OUTPUT = re.compile(r"<!-- output of: ([^\n]+) -->\n```\w*\n(.*?)^```$", re.S | re.M)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without the output that it shows."""
    return _OUTPUT.sub("", page.read_text())


def outputs(page: Path) -> dict[str, str]:
    """Command → what the page says it prints."""
    return {m[1]: m[2] for m in _OUTPUT.finditer(page.read_text())}


def code_spans(page: Path) -> list[str]:
    """What stands between single backquotes, outside of blocks. In a table's cell an escaped bar is a bar."""
    text = re.sub(r"^```.*?^```$", "", prose(page), flags=re.S | re.M)
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", text)]


def shell_lines(page: Path) -> list[str]:
    """The lines of ```sh blocks, without comments; continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", prose(page), re.S | re.M)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ") for line in lines if line and not line.startswith("#")]


def table(page: Path, first_heading: str) -> dict[str, tuple[str, ...]]:
    """First cell → other cells, of the table whose head begins with `first_heading`. Backquotes are taken off."""
    rows: dict[str, tuple[str, ...]] = {}
    inside = False
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        # An escaped bar is part of a cell.
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if cells[0] == first_heading:
            inside = True
        elif inside and not set(cells[0]) <= set("-: "):
            rows[cells[0].strip("`")] = tuple(c.strip("`") for c in cells[1:])
    return rows


def shape(text: str) -> list[str]:
    """The words of an output without what differs from run to run: numbers, pods' names, bars, progress lines."""
    lines = [line for line in text.splitlines() if not re.match(r" *\d+\.\d s  ", line)]
    text = "\n".join(lines)
    text = re.sub(r"[a-z]+-[0-9a-f]{8,10}-(\.\.|[a-z0-9]{5}\b)", "POD", text)
    text = re.sub(r"^\.\.\S+ .*$", "ROW", text, flags=re.M)
    # Said of a busy machine too, where the two are read too far apart.
    text = text.replace(": some clients have no sidecar", "")
    text = re.sub(r"\d[\d.,]*", "N", text)
    return text.split()

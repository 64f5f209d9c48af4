"""YAML text of many documents: the sidecar into each Deployment, all else as it was, comments included.

Knows YAML (ruamel.yaml's round trip) and nothing of what the documents mean.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lab.inject.document import InjectError, inject, is_injectable, undo
from lab.inject.sidecar import Options

_MARKER = re.compile(r"^(?:---|\.\.\.)(?:(?:[ \t]+\#[^\n]*|[ \t\r]*)(?:\n|\Z)|(?=[ \t]))", re.M)
"""What stands between documents. At the start of a line it is that even within a block scalar, says YAML."""


def rewrite(text: str, options: Options | None) -> str:
    """Inject into every Deployment of a stream; without options: take the sidecar out.

    A `List` is looked into. A document that does not change stays as it is, byte for byte.
    Raises InjectError: no YAML (with the line), no manifest, nothing to inject into.
    """
    out, kinds, found = [], [], 0
    for at, chunk in _chunks(text):
        yaml = YAML()
        doc = _load(yaml, chunk, text.count("\n", 0, at))
        if doc is None:
            out.append(chunk)
            continue
        if not isinstance(doc, dict):
            what = "a list" if isinstance(doc, list) else type(doc).__name__
            raise InjectError(f"a document is no manifest but {what}; expected a mapping with a kind")
        kinds.append(str(doc.get("kind", "?")))
        before = _plain(doc)
        found += _apply(doc, options)
        out.append(chunk if _plain(doc) == before else _dump(yaml, doc, chunk))
    if not kinds:
        raise InjectError("there is no manifest; give a file or pipe one in")
    if not found and options is not None:
        raise InjectError(f"there is no Deployment to inject into; found: {', '.join(kinds)}")
    return "".join(out)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """The stream in pieces with their offsets: documents, and the markers between them."""
    at = 0
    for marker in _MARKER.finditer(text):
        yield at, text[at : marker.start()]
        yield marker.start(), marker[0]
        at = marker.end()
    yield at, text[at:]


def _load(yaml: YAML, chunk: str, lines_before: int) -> Any:
    """The document in a piece of the stream; None: there is none, only a marker, a directive or comments."""
    if _MARKER.fullmatch(chunk) or all(line.lstrip()[:1] in ("", "#") or line[0] == "%" for line in chunk.split("\n")):
        return None
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        # Comments would keep the \r, and get another one when the text is written.
        return yaml.load(chunk.replace("\r\n", "\n"))
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 + lines_before if e.problem_mark else "?"
        raise InjectError(f"line {line}: not YAML: {e.problem or e.context}") from e
    except (YAMLError, ValueError) as e:
        raise InjectError(f"not YAML: {str(e).splitlines()[0]}") from e


def _dump(yaml: YAML, doc: Any, chunk: str) -> str:
    """The changed document as text, in the style of what it was made from."""
    mapping, offset = _indents(doc)
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    out = io.StringIO()
    yaml.dump(doc, out)
    text = out.getvalue() if chunk.endswith("\n") else out.getvalue().removesuffix("\n")
    return text.replace("\n", "\r\n") if "\r\n" in chunk else text


def _apply(doc: Any, options: Options | None) -> int:
    if isinstance(doc, dict) and str(doc.get("kind", "")).endswith("List") and isinstance(doc.get("items"), list):
        return sum(_apply(item, options) for item in doc["items"])
    if not is_injectable(doc):
        return 0
    plain = _plain(doc)
    _merge(doc, inject(plain, options) if options is not None else undo(plain))
    return 1


def _merge(live: Any, wanted: Any) -> None:
    """Make the commented document equal to the plain one, touching only what differs: comments stay."""
    for key in [k for k in live if k not in wanted]:
        del live[key]
    for key, value in wanted.items():
        old = live.get(key)
        if isinstance(old, CommentedMap) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, CommentedSeq) and isinstance(value, list) and old != value:
            _merge_containers(old, value)
        elif key not in live or old != value:
            live[key] = value


def _merge_containers(live: CommentedSeq, wanted: list[Any]) -> None:
    """A list loses entries or gains one at its front; the others keep their comments."""
    if wanted == [item for item in live if item in wanted]:
        _keep(live, wanted)
    elif wanted[1:] == [item for item in live if item in wanted[1:]]:
        _keep(live, wanted[1:])
        live.insert(0, wanted[0])
    else:
        live[:] = wanted


def _keep(live: CommentedSeq, wanted: list[Any]) -> None:
    for item in [i for i in live if i not in wanted]:
        live.remove(item)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _indents(doc: Any) -> tuple[int, int]:
    """How far mappings and the dashes of lists stand in from their key: what most of the document does."""
    # kubectl writes lists flush with their key, people often indent them: keep what is there.
    mappings: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    todo = [doc]
    while todo:
        parent = todo.pop()
        children = list(parent.values()) if isinstance(parent, dict) else list(parent)
        for child in (c for c in children if isinstance(c, CommentedMap | CommentedSeq) and c):
            todo.append(child)
            # What was just put in has no place in the text, and what stands in braces no indentation.
            if isinstance(parent, CommentedMap) and child.fa.flow_style() is False and child.lc.line is not None:
                (mappings if isinstance(child, CommentedMap) else dashes)[child.lc.col - parent.lc.col] += 1
    return _most(mappings, 2), _most(dashes, 0)


def _most(seen: Counter[int], otherwise: int) -> int:
    return seen.most_common(1)[0][0] if seen else otherwise

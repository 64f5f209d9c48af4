"""YAML text of many documents: the sidecar into each Deployment, all else as it was, comments included.

Knows YAML (ruamel.yaml's round trip) and nothing of what the documents mean.
"""

from __future__ import annotations

import io
import itertools
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lab.inject.document import InjectError, inject, is_injectable, undo
from lab.inject.sidecar import Options


def rewrite(text: str, options: Options | None) -> str:
    """Inject into every Deployment of a stream; without options: take the sidecar out.

    A `List` is looked into. Raises InjectError: no YAML (with the line), no manifest, nothing to inject into.
    """
    yaml = _yaml(text)
    try:
        documents = list(yaml.load_all(text))
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else "?"
        raise InjectError(f"line {line}: not YAML: {e.problem or e.context}") from e
    except (YAMLError, ValueError) as e:
        raise InjectError(f"not YAML: {str(e).splitlines()[0]}") from e
    if not [d for d in documents if d is not None]:
        raise InjectError("there is no manifest; give a file or pipe one in")
    found = 0
    for doc in documents:
        if doc is not None and not isinstance(doc, dict):
            raise InjectError(f"a document is no manifest but {type(doc).__name__}; expected a mapping with a kind")
        found += _apply(doc, options)
    if not found and options is not None:
        kinds = ", ".join(str(d.get("kind", "?")) for d in documents if d)
        raise InjectError(f"there is no Deployment to inject into; found: {kinds}")
    out = io.StringIO()
    yaml.dump_all(documents, out)
    return out.getvalue()


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
    """A list gains or loses the one entry at its front or elsewhere; the others keep their comments."""
    kept = [item for item in live if item in wanted]
    if len(wanted) == len(kept) + 1 and wanted[1:] == kept:
        for item in [i for i in live if i not in wanted]:
            live.remove(item)
        live.insert(0, wanted[0])
        return
    if wanted == kept:
        for item in [i for i in live if i not in wanted]:
            live.remove(item)
        return
    live[:] = wanted


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _yaml(text: str) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.explicit_start = text.lstrip().startswith("---")
    # kubectl writes lists flush with their key, people often indent them: keep what is there.
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    indented = any(
        line.lstrip().startswith("- ") and _indent(line) > _indent(before)
        for before, line in itertools.pairwise(lines)
        if before.split(" #")[0].rstrip().endswith(":")
    )
    if indented:
        yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())

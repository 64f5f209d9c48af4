"""Watch requests: events as a stream of JSON lines, through the selectors, with bookmarks.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes and, for
sendInitialEvents, #streaming-lists (KEP-3157).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from lab.clusters.local.api.errors import ApiError, Gone
from lab.clusters.local.api.history import Cursor, Event
from lab.clusters.local.api.objects import Object, copy_json, metadata
from lab.clusters.local.api.selectors import Predicate
from lab.clusters.local.api.store import Store, parse_version
from lab.clusters.local.api.target import Target

MAX_SECONDS = 3600.0
"""Longest life of a watch; clients begin again, as with a real server."""

Render = Callable[[Object], Object]


@dataclass(frozen=True)
class WatchRequest:
    """since: resourceVersion to begin after, None for "what there is now, first". Seconds as floats."""

    target: Target
    keep: Predicate
    since: str | None
    bookmarks: bool
    initial_events: bool
    timeout_s: float


class Watches:
    """All open watches of the server, so that it can end them when it stops."""

    def __init__(self, store: Store, bookmark_every_s: float) -> None:
        self._store = store
        self._bookmark_every_s = bookmark_every_s
        self._open: set[Cursor] = set()
        self._closed = False

    def close(self) -> None:
        """End every watch; each client sees a clean end of its stream."""
        self._closed = True
        for cursor in list(self._open):
            cursor.close()

    def start(self, request: WatchRequest, render: Render) -> AsyncIterator[bytes]:
        """The response body. Raises Gone now when `since` is too old, not later."""
        target, since = request.target, request.since
        if since not in (None, "", "0") and parse_version(since) > int(self._store.resource_version):
            raise Gone(f"too new resource version: {since} ({self._store.resource_version})")
        if request.initial_events:
            since = None
        cursor, present = self._store.open_watch(target.plural, target.namespace, since)
        self._open.add(cursor)
        if self._closed:
            cursor.close()
        return self._stream(request, render, cursor, present)

    async def _stream(
        self, request: WatchRequest, render: Render, cursor: Cursor, present: list[Object]
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_s
        begin = cursor.position
        try:
            for obj in present:
                if request.keep(obj):
                    yield _line("ADDED", render(obj))
            if request.initial_events and request.bookmarks:
                yield _line("BOOKMARK", _bookmark(request.target, str(begin), initial_end=True))
            while not cursor.closed and (left := deadline - loop.time()) > 0:
                events = await cursor.batch(min(left, self._bookmark_every_s))
                for event in events:
                    if (seen := _seen(event, request)) is not None:
                        yield _line(seen[0], render(seen[1]))
                if not events and request.bookmarks and not cursor.closed and not cursor.pending():
                    yield _line("BOOKMARK", _bookmark(request.target, self._store.resource_version))
        except ApiError as e:
            yield _line("ERROR", e.status())
        finally:
            cursor.close()
            self._open.discard(cursor)


def _seen(event: Event, request: WatchRequest) -> tuple[str, Object] | None:
    """The event as this watch sees it: what begins to match is ADDED, what stops matching is DELETED."""
    namespace = request.target.namespace
    if namespace is not None and metadata(event.object).get("namespace") != namespace:
        return None
    before = event.previous is not None and request.keep(event.previous)
    if event.type == "DELETED":
        return ("DELETED", event.object) if before else None
    if request.keep(event.object):
        return ("MODIFIED" if before else "ADDED"), event.object
    if before and event.previous is not None:
        gone = copy_json(event.previous)
        gone["metadata"]["resourceVersion"] = event.resource_version
        return "DELETED", gone
    return None


def _bookmark(target: Target, version: str, *, initial_end: bool = False) -> Object:
    meta: Object = {"resourceVersion": version, "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": meta}


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"

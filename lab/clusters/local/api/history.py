"""What changed, in order: one bounded log per resource, read by any number of cursors.

A watcher keeps no queue: it holds a position in the shared log, so a slow one costs no memory. When the log has
moved past its position it gets `Gone`, as a client of a real API server does, and has to list again.
Knows nothing of selectors, HTTP or what an object means. One asyncio loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from lab.clusters.local.api.errors import Gone

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True)
class Event:
    """One change. `object` is the state after it (for DELETED the last state); `previous` the state before."""

    type: EventType
    object: dict[str, Any]
    resource_version: str
    previous: dict[str, Any] | None = None


class History:
    """The log of one resource. Revisions grow strictly; `limit` is the number of events kept."""

    def __init__(self, limit: int) -> None:
        self._events: deque[tuple[int, Event]] = deque(maxlen=limit)
        self._forgotten = 0  # revision of the newest event that fell out of the log
        self._cursors: set[Cursor] = set()

    def append(self, revision: int, event: Event) -> None:
        """Record a change and wake every cursor."""
        if len(self._events) == self._events.maxlen:
            self._forgotten = self._events[0][0]
        self._events.append((revision, event))
        for cursor in self._cursors:
            cursor.wake()

    def cursor(self, since: int) -> Cursor:
        """A reader of every event after revision `since`. Close it when done. Raises Gone."""
        self._check(since)
        cursor = Cursor(self, since)
        self._cursors.add(cursor)
        return cursor

    def after(self, since: int) -> list[tuple[int, Event]]:
        """The events after revision `since`, oldest first. Raises Gone."""
        self._check(since)
        found: list[tuple[int, Event]] = []
        for entry in reversed(self._events):
            if entry[0] <= since:
                break
            found.append(entry)
        found.reverse()
        return found

    def discard(self, cursor: Cursor) -> None:
        """Forget a closed cursor."""
        self._cursors.discard(cursor)

    def _check(self, since: int) -> None:
        if since < self._forgotten:
            raise Gone(f"too old resource version: {since} ({self._forgotten})")


class Cursor:
    """One reader's position in a History."""

    def __init__(self, history: History, since: int) -> None:
        self._history = history
        self._woken = asyncio.Event()
        self._woken.set()
        self.position = since
        self.closed = False

    def wake(self) -> None:
        self._woken.set()

    def pending(self) -> bool:
        """Whether there is an event that was not read yet."""
        return bool(self._history.after(self.position))

    def close(self) -> None:
        """End the reader: a pending `batch` returns empty at once."""
        self.closed = True
        self._history.discard(self)
        self._woken.set()

    async def batch(self, timeout_s: float | None = None) -> list[Event]:
        """The next events; empty after timeout_s seconds without one, or when closed. Raises Gone if left behind."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.closed:
                    await self._woken.wait()
                    self._woken.clear()
                    found = self._history.after(self.position)
                    if found and not self.closed:
                        self.position = found[-1][0]
                        return [event for _, event in found]
        except TimeoutError:
            pass
        return []

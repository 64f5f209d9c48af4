"""The loop every controller is made of: watch, queue the names that changed, reconcile them one by one.

A name is in the queue once however often it changed. A failed reconcile is tried again, later each time.
Because the store never awaits, `reconcile` is a plain function: what it reads cannot change under it, and no
cache can be stale.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any

from lab.clusters.local.api.errors import ApiError, Gone
from lab.clusters.local.api.history import Event
from lab.clusters.local.api.store import Store

log = logging.getLogger("balance-lab.controllers")

Key = tuple[str, str]
"""(namespace, name)"""

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 30.0


class Controller:
    """Base of the controllers.

    watches: plural names of the resources whose changes matter.
    keys(plural, event): which objects to look at again after a change; reconcile(key): bring one of them to
    its spec.
    """

    watches: tuple[str, ...] = ()

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: dict[Key, None] = {}  # in order of arrival
        self._woken = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        raise NotImplementedError

    def reconcile(self, key: Key) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for plural in self.watches:
                group.create_task(self._watch(plural))
            group.create_task(self._work())

    def enqueue(self, key: Key) -> None:
        self._queue[key] = None
        self._woken.set()

    def enqueue_after(self, key: Key, seconds: float) -> None:
        """Look at this object again in some seconds, unless an earlier look is planned already."""
        loop = asyncio.get_running_loop()
        planned = self._timers.get(key)
        if planned is not None and not planned.cancelled() and loop.time() < planned.when() <= loop.time() + seconds:
            return
        if planned is not None:
            planned.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.enqueue(key)

    async def _watch(self, plural: str) -> None:
        async for event in changes(self.store, plural):
            for key in self.keys(plural, event):
                self.enqueue(key)

    async def _work(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._queue:
                key = next(iter(self._queue))
                del self._queue[key]
                self._attempt(key)
                await asyncio.sleep(0)  # let the watches and everyone else have a turn

    def _attempt(self, key: Key) -> None:
        try:
            self.reconcile(key)
            self._failures.pop(key, None)
        except Exception as e:  # one bad object must not end the loop for the others
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(FIRST_RETRY_S * 2 ** (failures - 1), LONGEST_RETRY_S)
            expected = isinstance(e, ApiError)
            log.warning(
                "%s %s/%s: %s; again in %.2f s",
                type(self).__name__,
                *key,
                e,
                delay,
                exc_info=None if expected else e,
            )
            self.enqueue_after(key, delay)


async def changes(store: Store, plural: str) -> AsyncIterator[Event]:
    """Every object there is as ADDED, then every change, for ever.

    A reader that fell behind the history starts over; what vanished meanwhile is then reported as DELETED.
    """
    known: dict[Key, dict[str, Any]] = {}
    while True:
        objects, version = store.list(plural)
        present = {key_of(obj): obj for obj in objects}
        for key, obj in known.items():
            if key not in present or uid_of(present[key]) != uid_of(obj):
                yield Event("DELETED", obj, version)
        known = present
        for obj in objects:
            yield Event("ADDED", obj, version)
        try:
            async for event in store.watch(plural, since=version):
                if event.type == "DELETED":
                    known.pop(key_of(event.object), None)
                else:
                    known[key_of(event.object)] = event.object
                yield event
        except Gone:
            log.warning("the watch on %s fell behind: listing again", plural)


def key_of(obj: dict[str, Any]) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def uid_of(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["uid"])


def owner(obj: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The owner reference of the controller of this kind, if it has one."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") == kind:
            return dict(reference)
    return None

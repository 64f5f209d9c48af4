"""The objects of the cluster, in memory: create, read, update, delete, watch.

Rules: one asyncio loop and no locks (every method but `watch` runs to its end without awaiting); objects are
plain JSON dicts, copied in and out, so nobody holds a reference into the store; one revision counter for all
resources, so a resourceVersion orders everything.
Must not know: HTTP, how pods run, which controllers exist.
Semantics: https://kubernetes.io/docs/reference/using-api/api-concepts/ (resource versions, concurrency).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from lab.clusters.local.api import defaults, validation
from lab.clusters.local.api.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
)
from lab.clusters.local.api.history import Cursor, Event, History
from lab.clusters.local.api.objects import (
    Object,
    Objects,
    copy_json,
    later,
    metadata,
    new_metadata,
    owned_by,
    same_but_version,
    timestamp,
)
from lab.clusters.local.api.resources import NAMESPACED, RESOURCES, Resource

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Conflict",
    "Event",
    "Gone",
    "Invalid",
    "NotFound",
    "Resource",
    "Store",
]

AllocateClusterIP = Callable[[Object], str]
ReleaseClusterIP = Callable[[str], None]

HISTORY_LIMIT = 4096
"""Changes kept per resource; a watch that falls further behind gets Gone."""

EVENTS_KEPT = 2000
"""Event objects kept in all; the oldest goes first (a real server forgets them after an hour)."""


class Store:
    """All objects of one cluster. It begins with the namespace `default`.

    allocate_cluster_ip: called with a new Service that wants an address (spec.clusterIP is then empty, or the
      address asked for); returns the address, or raises ValueError with the reason. Without it none is given.
    release_cluster_ip: called with the address once its Service is gone.
    """

    resources: Mapping[str, Resource] = RESOURCES

    def __init__(
        self,
        *,
        allocate_cluster_ip: AllocateClusterIP | None = None,
        release_cluster_ip: ReleaseClusterIP | None = None,
        history_limit: int = HISTORY_LIMIT,
    ) -> None:
        self._allocate = allocate_cluster_ip
        self._release = release_cluster_ip
        self._revision = 1
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in RESOURCES}
        self._history = {plural: History(history_limit) for plural in RESOURCES}
        self.create("namespaces", None, {"metadata": {"name": "default"}})

    # Reading

    @property
    def resource_version(self) -> str:
        """The revision of the latest change to anything."""
        return str(self._revision)

    def get(self, plural: str, namespace: str | None, name: str) -> Object:
        """A copy of one object. Raises NotFound."""
        return copy_json(self._find(plural, namespace, name))

    def list(self, plural: str, namespace: str | None = None) -> tuple[Objects, str]:
        """Copies of all objects (namespace None: of all), by namespace and name, and the resourceVersion."""
        held = self._held(plural)
        found = [copy_json(held[key]) for key in sorted(held) if namespace is None or key[0] == namespace]
        return found, self.resource_version

    async def watch(self, plural: str, namespace: str | None = None, since: str | None = None) -> AsyncIterator[Event]:
        """Every change after resourceVersion `since`, without end: `async for event in store.watch("pods")`.

        since None or "0": first an ADDED event for each object there is, then the changes.
        Raises Gone when `since`, or a reader that is too slow, is older than the history kept: list again.
        """
        cursor, present = self.open_watch(plural, namespace, since)
        try:
            for obj in present:
                yield Event("ADDED", obj, metadata(obj)["resourceVersion"])
            while not cursor.closed:
                for event in await cursor.batch():
                    if namespace is None or metadata(event.object).get("namespace") == namespace:
                        yield Event(event.type, copy_json(event.object), event.resource_version)
        finally:
            cursor.close()

    def open_watch(self, plural: str, namespace: str | None = None, since: str | None = None) -> tuple[Cursor, Objects]:
        """The parts of `watch` for a reader with timeouts of its own: a cursor, the objects to begin with.

        The cursor's events are shared, of all namespaces, and must not be changed.
        """
        self._held(plural)
        if since in (None, "", "0"):
            return self._history[plural].cursor(self._revision), self.list(plural, namespace)[0]
        return self._history[plural].cursor(parse_version(since)), []

    # Writing

    def create(self, plural: str, namespace: str | None, obj: Object, *, dry_run: bool = False) -> Object:
        """Store a new object and return it with defaults and metadata (uid, resourceVersion, …).

        Raises Invalid, AlreadyExists, NotFound (no such namespace), Forbidden (the namespace is going away).
        """
        resource = self._resource(plural)
        namespace = namespace or "" if resource.namespaced else ""
        self._check_namespace(resource, namespace, obj)
        new = copy_json(obj)
        new.update(apiVersion=resource.api_version, kind=resource.kind)
        new["metadata"] = new_metadata(resource, namespace, metadata(obj))
        defaults.on_create(resource, new)
        validation.on_create(resource, new)
        key = (namespace, new["metadata"]["name"])
        if key in self._objects[plural]:
            raise AlreadyExists(
                f'{resource.qualified} "{key[1]}" already exists',
                plural=plural,
                group=resource.group,
                name=key[1],
            )
        if dry_run:
            return new
        if plural == "services":
            self._take_address(new)
        self._put(resource, "ADDED", new)
        if plural == "namespaces":
            self.create("serviceaccounts", key[1], {"metadata": {"name": "default"}})
        elif plural == "events":
            self._forget_old_events()
        return copy_json(new)

    def update(
        self,
        plural: str,
        namespace: str | None,
        obj: Object,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, or with subresource="status" only its status. Returns what is stored then.

        A metadata.resourceVersion in `obj` must be the current one (else Conflict); without one the last write
        wins. metadata.generation grows when the spec changed. A write that changes nothing makes no event.
        """
        resource = self._resource(plural)
        given = metadata(obj)
        old = self._find(plural, namespace, str(given.get("name", "")))
        self._check_current(resource, old, given)
        new = _merge_write(resource, old, obj, subresource)
        if subresource is None:
            defaults.on_update(resource, new, old)
            validation.on_update(resource, new, old)
            if resource.tracks_generation and new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = metadata(old).get("generation", 0) + 1
        if dry_run or same_but_version(new, old):
            return copy_json(new)
        if _may_go(resource, new):
            self._drop(resource, new)
            return copy_json(new)
        self._put(resource, "MODIFIED", new)
        return copy_json(new)

    def mutate(
        self,
        plural: str,
        namespace: str | None,
        name: str,
        fn: Callable[[Object], None],
        *,
        subresource: str | None = None,
    ) -> Object:
        """Read an object, let `fn` change the copy, write it back; nothing comes in between. Raises NotFound."""
        obj = self.get(plural, namespace, name)
        fn(obj)
        return self.update(plural, namespace, obj, subresource=subresource)

    def delete(
        self,
        plural: str,
        namespace: str | None,
        name: str,
        *,
        grace_seconds: int | None = None,
        precondition_uid: str | None = None,
        propagation: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Ask for an object to go; returns its last state.

        Pods on a node: metadata.deletionTimestamp (when it should be gone) and deletionGracePeriodSeconds are
        set, and the kubelet calls `remove` once the processes ended. grace 0, a pod on no node, or a finished
        pod: gone at once. Namespaces become Terminating, their contents are deleted, and they go with the last
        object in them. An object with finalizers stays until an update takes the last one off. Everything else
        goes at once. propagation "Orphan" takes the owner reference off dependents; otherwise collecting them is
        a controller's work.
        """
        resource = self._resource(plural)
        old = self._find(plural, namespace, name)
        if precondition_uid and precondition_uid != metadata(old).get("uid"):
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.qualified} "{name}": the UID in the precondition '
                f"({precondition_uid}) does not match the UID in record ({metadata(old).get('uid')})",
                plural=plural, group=resource.group, name=name,
            )  # fmt: skip
        if dry_run:
            return copy_json(old)
        if propagation == "Orphan":
            self._orphan(metadata(old)["uid"], namespace)
        grace = _grace(resource, old, grace_seconds)
        if resource.plural != "namespaces" and grace == 0 and not metadata(old).get("finalizers"):
            return copy_json(self._drop(resource, old))
        new = self._mark_deleted(resource, old, grace)
        if plural == "namespaces":
            self._empty_namespace(name)
        return copy_json(new)

    def remove(self, plural: str, namespace: str | None, name: str, uid: str | None = None) -> None:
        """Take an object away at once, whatever its grace. No error if it (or this uid of it) is gone already."""
        resource = self._resource(plural)
        held = self._objects[plural].get((namespace or "" if resource.namespaced else "", name))
        if held is not None and (uid is None or metadata(held).get("uid") == uid):
            self._drop(resource, held)

    # Helpers: looking up

    def _resource(self, plural: str) -> Resource:
        try:
            return RESOURCES[plural]
        except KeyError:
            raise NotFound("the server could not find the requested resource") from None

    def _held(self, plural: str) -> dict[tuple[str, str], Object]:
        return self._objects[self._resource(plural).plural]

    def _find(self, plural: str, namespace: str | None, name: str) -> Object:
        resource = self._resource(plural)
        try:
            return self._objects[plural][(namespace or "" if resource.namespaced else "", name)]
        except KeyError:
            raise NotFound(
                f'{resource.qualified} "{name}" not found', plural=plural, group=resource.group, name=name
            ) from None

    def _check_namespace(self, resource: Resource, namespace: str, obj: Object) -> None:
        if not resource.namespaced:
            return
        given = metadata(obj).get("namespace")
        if given and given != namespace:
            raise BadRequest(
                f"the namespace of the provided object does not match the namespace sent on the request "
                f"({given} is not {namespace})"
            )
        if metadata(self._find("namespaces", None, namespace)).get("deletionTimestamp"):
            name = metadata(obj).get("name", "")
            message = f"namespace {namespace} is being terminated"
            raise Forbidden(
                f'{resource.qualified} "{name}" is forbidden: unable to create new content in {message}',
                plural=resource.plural, group=resource.group, name=name,
                causes=[Cause("NamespaceTerminating", message, "metadata.namespace")],
            )  # fmt: skip

    def _check_current(self, resource: Resource, old: Object, given: Object) -> None:
        name = metadata(old)["name"]
        for field, problem in (
            (
                "resourceVersion",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            ("uid", "the UID in the object meta does not match the UID in record"),
        ):  # fmt: skip
            if given.get(field) and given[field] != metadata(old)[field]:
                raise Conflict(
                    f'Operation cannot be fulfilled on {resource.qualified} "{name}": {problem}',
                    plural=resource.plural, group=resource.group, name=name,
                )  # fmt: skip

    # Helpers: changing

    def _put(self, resource: Resource, kind: str, new: Object) -> None:
        key = (metadata(new).get("namespace", ""), metadata(new)["name"])
        held = self._objects[resource.plural]
        previous = held.get(key)
        self._revision += 1
        new["metadata"]["resourceVersion"] = str(self._revision)
        held[key] = copy_json(new)
        event = Event("ADDED" if kind == "ADDED" else "MODIFIED", held[key], str(self._revision), previous)
        self._history[resource.plural].append(self._revision, event)

    def _drop(self, resource: Resource, last: Object) -> Object:
        """Take an object away; its final event carries the revision of the removal."""
        last = copy_json(last)
        namespace, name = metadata(last).get("namespace", ""), metadata(last)["name"]
        previous = self._objects[resource.plural].pop((namespace, name))
        self._revision += 1
        last["metadata"]["resourceVersion"] = str(self._revision)
        event = Event("DELETED", last, str(self._revision), previous)
        self._history[resource.plural].append(self._revision, event)
        address = last.get("spec", {}).get("clusterIP") if resource.plural == "services" else None
        if address and address != "None" and self._release is not None:
            self._release(address)
        if namespace:
            self._settle_namespace(namespace)
        return last

    def _mark_deleted(self, resource: Resource, old: Object, grace: int) -> Object:
        new = copy_json(old)
        meta = new["metadata"]
        before = meta.get("deletionGracePeriodSeconds")
        if not meta.get("deletionTimestamp") or (before is not None and grace < before):
            meta["deletionTimestamp"] = later(grace)
            meta["deletionGracePeriodSeconds"] = grace
            if resource.tracks_generation:
                meta["generation"] = meta.get("generation", 0) + 1
        if resource.plural == "namespaces":
            new.setdefault("status", {})["phase"] = "Terminating"
            meta.setdefault("deletionTimestamp", timestamp())
        if not same_but_version(new, old):
            self._put(resource, "MODIFIED", new)
        return new

    def _empty_namespace(self, namespace: str) -> None:
        for plural in NAMESPACED:
            for _, name in [key for key in self._objects[plural] if key[0] == namespace]:
                self.delete(plural, namespace, name)
        self._settle_namespace(namespace)

    def _settle_namespace(self, namespace: str) -> None:
        """A Terminating namespace goes with the last object in it."""
        held = self._objects["namespaces"].get(("", namespace))
        if held is None or not metadata(held).get("deletionTimestamp"):
            return
        if not any(key[0] == namespace for plural in NAMESPACED for key in self._objects[plural]):
            self._drop(RESOURCES["namespaces"], held)

    def _orphan(self, uid: str, namespace: str | None) -> None:
        for plural in NAMESPACED:
            for key, held in list(self._objects[plural].items()):
                if key[0] == (namespace or "") and owned_by(held, uid):
                    new = copy_json(held)
                    owners = [o for o in metadata(held)["ownerReferences"] if o.get("uid") != uid]
                    new["metadata"]["ownerReferences"] = owners
                    self._put(RESOURCES[plural], "MODIFIED", new)

    def _take_address(self, service: Object) -> None:
        spec = service["spec"]
        if self._allocate is None or spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName":
            return
        try:
            spec["clusterIP"] = self._allocate(copy_json(service))
        except ValueError as e:
            raise validation.invalid(
                RESOURCES["services"],
                metadata(service)["name"],
                [
                    Cause(
                        "FieldValueInvalid",
                        f"Invalid value: {spec.get('clusterIP', '')!r}: {e}",
                        "spec.clusterIPs",
                    )
                ],
            ) from e
        spec["clusterIPs"] = [spec["clusterIP"]]

    def _forget_old_events(self) -> None:
        held = self._objects["events"]
        if len(held) > EVENTS_KEPT:
            self._drop(RESOURCES["events"], next(iter(held.values())))


def parse_version(text: str | None) -> int:
    """A resourceVersion as a number. Raises BadRequest."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"invalid resource version {text!r}: it must be a number given by this server")
    return int(text)


_SERVER_OWNED = (
    "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "generateName",
    "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip


def _merge_write(resource: Resource, old: Object, given: Object, subresource: str | None) -> Object:
    """What a write leaves: a status write touches the status alone, a plain write everything else."""
    if subresource is not None:
        new = copy_json(old)
        new["status"] = copy_json(given.get("status") or {})
        return new
    new = copy_json(given)
    new.update(apiVersion=resource.api_version, kind=resource.kind)
    meta, before = new["metadata"], metadata(old)
    for field in _SERVER_OWNED:
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)
    if "status" in resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copy_json(old["status"])
    return new


def _grace(resource: Resource, obj: Object, asked: int | None) -> int:
    if resource.plural != "pods" or not obj.get("spec", {}).get("nodeName"):
        return 0
    if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    own = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return max(0, asked if asked is not None else own)


def _may_go(resource: Resource, obj: Object) -> bool:
    """Whether a write took the last finalizer off an object that was waiting for that."""
    meta = metadata(obj)
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or resource.plural == "namespaces":
        return False
    return resource.plural != "pods" or meta.get("deletionGracePeriodSeconds", 0) == 0

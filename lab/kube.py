"""The few calls of the Kubernetes API that the lab makes, on plain JSON objects, through the official client.

Plain objects, because what is applied comes from YAML and what is patched goes back as it came. The client brings
the kubeconfig, authentication and TLS. Must not know: who provides the cluster, what the objects are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from tenacity import RetryCallState, RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed
from urllib3.exceptions import HTTPError

from lab.errors import ApiFailure, NotInTime

Object = dict[str, Any]

TIMEOUT_S = 15.0
_POLL_S = 0.15

# kind → (path of its API group, plural, namespaced)
_KINDS: Mapping[str, tuple[str, str, bool]] = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
}


class Kube:
    """One cluster's API. Every method raises ApiFailure."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    def close(self) -> None:
        self._api.close()  # type: ignore[no-untyped-call]

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout_s: float = TIMEOUT_S,
    ) -> str:
        """One request; the answer's body as text."""
        headers = {"Accept": "*/*", "Content-Type": content_type}
        request = self._api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = self._api.call_api(*request, _request_timeout=timeout_s)
            text = (answer.read() or b"").decode("utf-8", "replace")  # type: ignore[no-untyped-call]
        except (ApiException, HTTPError, OSError) as e:
            raise ApiFailure(f"{method} {path}: {_first_line(e)}", 0, "is the cluster up? try: lab status") from e
        if answer.status >= 400:
            raise ApiFailure(f"{method} {path}: {answer.status} {_status_message(text)}", answer.status)
        return text

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None if there is none."""
        try:
            return _object(self.call("GET", _path(kind, namespace, name)))
        except ApiFailure as e:
            if e.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str, selector: Mapping[str, str] | None = None) -> list[Object]:
        query = {"labelSelector": ",".join(f"{k}={v}" for k, v in selector.items())} if selector else {}
        items = _object(self.call("GET", _path(kind, namespace), query=query)).get("items") or []
        return [dict(i) for i in items]

    def create(self, obj: Object) -> Object:
        meta = obj["metadata"]
        return _object(self.call("POST", _path(obj["kind"], meta.get("namespace", "")), body=obj))

    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        """JSON merge patch (RFC 7386): lists are replaced whole, null removes."""
        path = _path(kind, namespace, name)
        return _object(self.call("PATCH", path, body=patch, content_type="application/merge-patch+json"))

    def replace(self, obj: Object) -> Object:
        meta = obj["metadata"]
        return _object(self.call("PUT", _path(obj["kind"], meta.get("namespace", ""), meta["name"]), body=obj))

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """False if there was none."""
        try:
            self.call("DELETE", _path(kind, namespace, name))
        except ApiFailure as e:
            if e.status == 404:
                return False
            raise
        return True

    def pod_http(self, namespace: str, pod: str, port: int, path: str, *, timeout_s: float = 5.0) -> str:
        """GET of a pod's page through the API server's proxy: works from wherever the API can be reached."""
        where = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}:{port}/proxy/{path.lstrip('/')}"
        return self.call("GET", where, timeout_s=timeout_s)


def wait_for(
    look: Callable[[], tuple[bool, str]], deadline_s: float, what: str, progress: Callable[[str], None]
) -> None:
    """Look until it is so. `look` gives (is it so, what was seen); news goes to `progress`.

    Raises NotInTime with the last thing seen.
    """
    seen = ""

    def tell(state: RetryCallState) -> None:
        nonlocal seen
        now = state.outcome.result()[1] if state.outcome and not state.outcome.failed else ""
        if now != seen:
            seen = now
            progress(f"{what}: {now}")

    try:
        Retrying(
            retry=retry_if_result(lambda r: not r[0]),
            stop=stop_after_delay(deadline_s),
            wait=wait_fixed(_POLL_S),
            before_sleep=tell,
        )(look)
    except RetryError as e:
        last = e.last_attempt.result()[1]
        raise NotInTime(f"{what}: not so after {deadline_s:.0f} s; last seen: {last}", "see: lab status") from e


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, plural, namespaced = _KINDS[kind]
    where = f"{group}/namespaces/{quote(namespace)}/{plural}" if namespaced else f"{group}/{plural}"
    return f"{where}/{quote(name)}" if name else where


def _object(text: str) -> Object:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise ApiFailure(f"the API answered something that is not JSON: {text[:80]!r}", 0) from e
    return dict(value)


def _status_message(text: str) -> str:
    try:
        return str(json.loads(text)["message"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return text.strip().splitlines()[0][:200] if text.strip() else ""


def _first_line(e: Exception) -> str:
    return (str(e) or type(e).__name__).splitlines()[0][:300]

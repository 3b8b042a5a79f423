"""RADOS namespaces: one for each system user, one for all shared images."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from clonepool.backends.rbd_cluster import Cluster
from clonepool.domain.model import SystemUser

_PLAIN: Final = re.compile(r"[a-z0-9-]{1,63}")
_UNFIT: Final = re.compile(r"[^a-z0-9-]+")
_SLUG_CHARS: Final = 40
_DIGEST_CHARS: Final = 16


def namespace_of(system_user: SystemUser | None, *, prefix: str) -> str:
    """The namespace's name; no two system users have the same.

    A name that fits stands as it is; else what fits of it, ``_``, and a digest of the whole.
    """
    if system_user is None:
        return f"{prefix}.shared"
    name = system_user.name
    if not _PLAIN.fullmatch(name):
        slug = _UNFIT.sub("-", name.lower())[:_SLUG_CHARS]
        name = f"{slug}_{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]}"
    return f"{prefix}.{system_user.kind}.{name}"


class Namespaces:
    """Those of ours in the pool, by their prefix; and in which of them a name was last seen."""

    def __init__(self, cluster: Cluster, *, prefix: str) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._lock = threading.Lock()
        self._seen: dict[str, str] = {}

    def ensure(self, system_user: SystemUser | None) -> str:
        """The system user's namespace, made if absent."""
        namespace = namespace_of(system_user, prefix=self._prefix)
        rbd = self._cluster.bindings.rbd
        doing = f"making the namespace {namespace}"
        with self._cluster.work(doing=doing) as ioctx, suppress(rbd.ImageExists):
            self._cluster.calls.namespace_create(ioctx, namespace)
        return namespace

    def list(self) -> Sequence[str]:
        """All that are there now."""
        with self._cluster.work(doing="listing the namespaces") as ioctx:
            names = [str(name) for name in self._cluster.calls.namespace_list(ioctx)]
        return [name for name in names if name.startswith(f"{self._prefix}.")]

    def saw(self, name: str, namespace: str) -> None:
        """Remember where an object is; it never moves."""
        with self._lock:
            self._seen[name] = namespace

    def forget(self, name: str) -> None:
        """An object is gone."""
        with self._lock:
            self._seen.pop(name, None)

    def likely(self, name: str) -> str | None:
        """Where an object was last seen."""
        return self._seen.get(name)

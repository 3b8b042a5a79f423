"""The options of storage driver rbd."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clonepool.backends.rbd_cluster import ClusterSettings
from clonepool.backends.rbd_masters import DEFAULT_CLONES
from clonepool.errors import InvalidArgument
from clonepool.units import parse_duration

_DEFAULT_CONF: Final = "/etc/ceph/ceph.conf"
_DEFAULT_POOL: Final = "clonepool"
_DEFAULT_CLIENT: Final = "clonepool"
_DEFAULT_PREFIX: Final = "clonepool"
_MON_TIMEOUT: Final = "10s"
# an OSD that falls silent counts as dead after 20 s of heartbeats, 6 s apart, by default
_OSD_TIMEOUT: Final = "30s"
_POOL: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_CLIENT: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PREFIX: Final = re.compile(r"[a-z0-9-]{1,40}")

RBD_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "conf": f"the cluster's configuration file (default {_DEFAULT_CONF})",
        "pool": f"the pool that holds images and volumes (default {_DEFAULT_POOL})",
        "client": f"cephx client, without 'client.' (default {_DEFAULT_CLIENT})",
        "keyring": "file with that client's key (default: as the configuration file says)",
        "namespace_prefix": "beginning of the names of its RADOS namespaces "
        f"(default {_DEFAULT_PREFIX})",
        "mon_timeout": f"how long monitors may take to answer (default {_MON_TIMEOUT})",
        "osd_timeout": "how long an OSD may take to answer; longer than a dead one goes unnoticed "
        f"(default {_OSD_TIMEOUT})",
        "clones_per_snapshot": "clones until an image gets a fresh snapshot "
        f"(default {DEFAULT_CLONES})",
    }
)


@dataclass(frozen=True, kw_only=True)
class RbdOptions:
    """The options, read."""

    cluster: ClusterSettings
    namespace_prefix: str = _DEFAULT_PREFIX
    clones_per_snapshot: int = DEFAULT_CLONES

    @classmethod
    def read(cls, options: Mapping[str, str]) -> RbdOptions:
        """Raises InvalidArgument naming the option."""
        conf = _absolute(options, "conf", default=_DEFAULT_CONF)
        keyring = _absolute(options, "keyring", default="") if options.get("keyring") else None
        return cls(
            cluster=ClusterSettings(
                conf=conf,
                client=_matching(options, "client", default=_DEFAULT_CLIENT, pattern=_CLIENT),
                keyring=str(keyring or ""),
                pool=_matching(options, "pool", default=_DEFAULT_POOL, pattern=_POOL),
                mon_timeout_s=_seconds(options, "mon_timeout", default=_MON_TIMEOUT),
                osd_timeout_s=_seconds(options, "osd_timeout", default=_OSD_TIMEOUT),
            ),
            namespace_prefix=_matching(
                options, "namespace_prefix", default=_DEFAULT_PREFIX, pattern=_PREFIX
            ),
            clones_per_snapshot=_count(options, "clones_per_snapshot", default=DEFAULT_CLONES),
        )


def _absolute(options: Mapping[str, str], name: str, *, default: str) -> Path:
    path = Path(options.get(name, default)).expanduser()
    if not path.is_absolute():
        raise InvalidArgument.field(name, f"{str(path)!r} is not an absolute path")
    return path


def _matching(
    options: Mapping[str, str], name: str, *, default: str, pattern: re.Pattern[str]
) -> str:
    text = options.get(name, default)
    if not pattern.fullmatch(text):
        raise InvalidArgument.field(name, f"{text[:120]!r} does not match {pattern.pattern}")
    return text


def _seconds(options: Mapping[str, str], name: str, *, default: str) -> float:
    seconds = parse_duration(options.get(name, default), field=name)
    if seconds < 1:
        raise InvalidArgument.field(name, "must be a second or more: 0 would wait for ever")
    return seconds


def _count(options: Mapping[str, str], name: str, *, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InvalidArgument.field(name, f"{text!r} is not a whole number above 0")
    return int(text)

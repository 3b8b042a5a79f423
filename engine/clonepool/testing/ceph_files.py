"""Configuration and keys of a Ceph cluster on the loopback address, for tests."""

from __future__ import annotations

import base64
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENGINE_CLIENT: Final = "clonepool"
_GIB: Final = 2**30
# how long an OSD may be silent until it counts as dead; 20 s and 6 s by default
HEARTBEAT_GRACE_S: Final = 6
HEARTBEAT_INTERVAL_S: Final = 1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a cluster is made of. ``store`` memstore is quicker, and empty after a kill."""

    fsid: str
    osds: int
    store: str
    ports: tuple[int, int]
    size_bytes: int

    @property
    def monitors(self) -> str:
        """The monitor's addresses, by both protocols."""
        v2, v1 = self.ports
        return f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"


def new_secret() -> str:
    """A cephx key: type 1, seconds, nanoseconds, length, 16 random bytes."""
    secret = os.urandom(16)
    head = struct.pack("<HIIH", 1, int(time.time()), 0, len(secret))
    return base64.b64encode(head + secret).decode()


def write_keyrings(folder: Path, *, osds: int) -> Path:
    """A keyring for each daemon and client, and one of all for the monitor's; gives the latter."""
    capabilities: dict[str, Mapping[str, str]] = {
        "mon.": {"mon": "allow *"},
        "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
        # what docs/ceph.md tells an operator to give an engine
        f"client.{ENGINE_CLIENT}": {"mon": "profile rbd", "osd": "profile rbd"},
    }
    capabilities["mgr.x"] = {"mon": "allow profile mgr", "osd": "allow *"}
    for number in range(osds):
        capabilities[f"osd.{number}"] = {"mon": "allow profile osd", "osd": "allow *"}
    together = ""
    for name, caps in capabilities.items():
        own = f"[{name}]\n\tkey = {new_secret()}\n"
        _write_secret(folder / f"keyring.{'mon.a' if name == 'mon.' else name}", own)
        together += own + "".join(f'\tcaps {kind} = "{cap}"\n' for kind, cap in caps.items())
    return _write_secret(folder / "keyring.mkfs", together)


def _write_secret(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def write_conf(folder: Path, layout: Layout) -> Path:
    """The ceph.conf of daemons and clients."""
    path = folder / "ceph.conf"
    path.write_text(_render(folder, layout))
    return path


def _render(folder: Path, layout: Layout) -> str:
    sections: dict[str, Mapping[str, object]] = {
        "global": {
            **_basics(folder, layout),
            **_pools(layout),
            "osd_heartbeat_grace": HEARTBEAT_GRACE_S,
            "osd_heartbeat_interval": HEARTBEAT_INTERVAL_S,
            "mon_osd_min_down_reporters": 1,
            "mon_osd_reporter_subtree_level": "osd",
            "mon_osd_adjust_heartbeat_grace": "false",
        },
        "mon": {
            "mon_data": f"{folder}/mon.$id",
            "ms_bind_msgr1": "true",
            "auth_allow_insecure_global_id_reclaim": "false",
            "mgr_initial_modules": "",
            # each change of a map waits for this long; the default is a second
            "paxos_propose_interval": 0.02,
            "paxos_min_wait": 0.01,
            "mon_tick_interval": 1,
            # a shared machine's disk may be fairly full
            "mon_data_avail_warn": 2,
            "mon_data_avail_crit": 1,
        },
        "mgr": {
            "mgr_data": f"{folder}/mgr.$id",
            "mgr_module_path": f"{folder}/modules",
            "mgr_stats_period": 1,
        },
        "osd": _osd(folder, layout),
        "client": {"log_file": "", "admin_socket": ""},
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        for name, options in sections.items()
    )


def _basics(folder: Path, layout: Layout) -> Mapping[str, object]:
    return {
        "fsid": layout.fsid,
        "mon_initial_members": "a",
        "mon_host": layout.monitors,
        "public_addr": "127.0.0.1",
        "cluster_addr": "127.0.0.1",
        "ms_bind_ipv6": "false",
        "ms_bind_msgr1": "false",
        "auth_cluster_required": "cephx",
        "auth_service_required": "cephx",
        "auth_client_required": "cephx",
        "keyring": f"{folder}/keyring.$name",
        "run_dir": f"{folder}/run",
        "admin_socket": f"{folder}/run/$name.asok",
        "pid_file": "",
        "log_file": f"{folder}/log/$name.log",
        "log_to_stderr": "false",
        "mon_cluster_log_file": f"{folder}/log/cluster.log",
        "crash_dir": f"{folder}/crash",
        "max_open_files": 0,
        "setuser_match_path": "",
        "ms_async_op_threads": 1,
    }


def _pools(layout: Layout) -> Mapping[str, object]:
    return {
        # one host is the only failure domain there is
        "osd_crush_chooseleaf_type": 0,
        "osd_pool_default_size": min(layout.osds, 3),
        "osd_pool_default_min_size": min(layout.osds, 2),
        "osd_pool_default_pg_num": 8,
        "osd_pool_default_pgp_num": 8,
        "osd_pool_default_pg_autoscale_mode": "off",
        "mon_allow_pool_size_one": "true",
        "mon_allow_pool_delete": "true",
        "mon_max_pg_per_osd": 500,
        "mon_osd_down_out_interval": 600,
    }


def _osd(folder: Path, layout: Layout) -> Mapping[str, object]:
    return {
        "osd_data": f"{folder}/osd.$id",
        "osd_objectstore": layout.store,
        "bluestore_cache_autotune": "false",
        "bluestore_cache_size": 128 * 2**20,
        "bluestore_block_size": layout.size_bytes,
        "bluestore_fsck_on_mkfs": "false",
        "memstore_device_bytes": min(layout.size_bytes, 4 * _GIB),
        "osd_op_num_shards": 2,
        "osd_op_num_threads_per_shard": 1,
        # the default is relative where the daemon runs in /
        "osd_class_dir": _class_folder(),
        "osd_class_load_list": "*",
        "osd_class_default_list": "*",
    }


def _class_folder() -> str:
    found = sorted(Path("/usr").glob("lib*/**/rados-classes/libcls_rbd.so"))
    return str(found[0].parent) if found else "/usr/lib/rados-classes"

"""Doctor's checks of folders, space, rights and ports, as the settings have them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clonepool.api.endpoint import parse_endpoint
from clonepool.backends.file_probe import probe_file_system
from clonepool.backends.limits import limits_of
from clonepool.cli.checks import Check, broken, good, lacking
from clonepool.cli.checks_ceph import check_ceph
from clonepool.cli.checks_lio import LIO, check_lio
from clonepool.cli.checks_lvm import check_lvm
from clonepool.config import DriverSettings, Settings
from clonepool.units import format_size

_EPHEMERAL: Final = 0


def check_machine(settings: Settings) -> Iterator[Check]:
    """Rights, the state folder, each storage, and the ports that are wanted."""
    yield _rights()
    yield _state_dir(settings.state_dir)
    for storage in settings.storages.values():
        if storage.driver == "file":
            folder = _storage_folder(storage, settings)
            yield _clones(storage.name, folder)
            yield _space(storage, folder)
        if storage.driver == "rbd":
            yield check_ceph(storage, settings)
    yield from check_lvm(settings)
    yield from check_lio(settings)
    yield from _ports(settings)


def _rights() -> Check:
    if os.geteuid() == 0:
        return good("rights", "root")
    return lacking(
        "rights",
        f"user {os.geteuid()}, not root: a socket and state of one's own; tgtd runs with a port "
        "and socket of one's own; what only root can read can't be imported",
        "run as root where the machine's other users shall be served",
    )


def _state_dir(folder: Path) -> Check:
    existing = _nearest(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        return broken(
            "state folder",
            f"{folder} can't be written by this user",
            "set state_dir (CLONEPOOL_STATE_DIR), or run as its owner",
        )
    return good("state folder", f"{folder}" if folder.exists() else f"{folder} (will be made)")


def _storage_folder(storage: DriverSettings, settings: Settings) -> Path:
    default = settings.state_dir / "storage" / storage.name
    return Path(storage.options.get("path", str(default))).expanduser()


def _clones(name: str, folder: Path) -> Check:
    title = f"storage {name}"
    try:
        facts = probe_file_system(_nearest(folder))
    except OSError as problem:
        return broken(
            title,
            f"{folder} can't be written: {problem.strerror}",
            f"set storages.{name}.path to a folder of this user's",
        )
    if not facts.no_reflink_reason:
        return good(title, f"{folder} on {facts.kind}: thin clones by reflink")
    return lacking(
        title,
        f"{folder} on {facts.kind} has no reflinks ({facts.no_reflink_reason}): clones are full "
        "copies, slower and larger",
        f"put storages.{name}.path on XFS (mkfs.xfs -m reflink=1) or Btrfs",
    )


def _space(storage: DriverSettings, folder: Path) -> Check:
    title = f"space {storage.name}"
    usage = shutil.disk_usage(_nearest(folder))
    limits = limits_of(storage, total_bytes=usage.total)
    promises = f"overcommit {limits.overcommit:g}" if limits.overcommit else "no overcommit limit"
    detail = (
        f"{format_size(usage.free)} free of {format_size(usage.total)}, "
        f"{format_size(limits.reserve_bytes)} reserved, {promises}"
    )
    if usage.free <= limits.reserve_bytes:
        return broken(
            title,
            f"{detail}: nothing can be cloned",
            f"free some space, or lower storages.{storage.name}.reserve",
        )
    if usage.free < limits.warn_bytes:
        return lacking(
            title,
            f"{detail}: nearly full",
            "scrub what is released, free some space, or add some; see `clonepool capacity`",
        )
    return good(title, detail)


def _ports(settings: Settings) -> Iterator[Check]:
    listen = parse_endpoint(settings.listen)
    if listen.path is None:
        yield _port("port of the engine", listen.host, listen.port, setting="listen")
    for fabric in settings.fabrics.values():
        if fabric.driver == LIO:
            continue  # the kernel's targets share their ports
        host, _, port = fabric.options.get("portal", "").rpartition(":")
        if port.isdigit():
            title = f"port of fabric {fabric.name}"
            yield _port(title, host.strip("[]"), int(port), setting=f"fabrics.{fabric.name}.portal")


def _port(title: str, host: str, port: int, *, setting: str) -> Check:
    where = f"{host}:{port}"
    if port == _EPHEMERAL:
        return good(title, f"{where}: a free one is taken")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            return lacking(
                title,
                f"{where} can't be taken: {problem.strerror} (fine where our own engine has it)",
                f"end what has it, or set {setting}",
            )
    return good(title, f"{where} is free")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))

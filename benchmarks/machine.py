"""What the figures were measured on: nobody can compare them without."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("clonepool", "grpcio", "protobuf", "sqlalchemy", "sqlmodel", "pulumi")
_CHECKOUT = Path(__file__).resolve().parents[1]


def facts(scratch: Path) -> dict[str, Any]:
    """Cores, memory, file system, kernel, versions, and the load that was there before."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "system": _system(),
        "file_system": _file_system(scratch),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "user": "root" if os.geteuid() == 0 else "a normal user",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _file_system(folder: Path) -> str:
    """The kind of file system that ``folder`` is on: the longest mount point above it."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, at, kind, *_ = line.split()
        if folder.resolve().is_relative_to(at) and len(at) >= len(best[0]):
            best = (at, kind)
    return best[1]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """The commit, with a + where files differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "engine", "provider") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*words: str) -> str:
    argv = ["git", "-C", str(_CHECKOUT), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()

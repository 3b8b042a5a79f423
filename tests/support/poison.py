"""Run a program as a system without POSIX would: what only Linux or Unix has is not there.

``python poison.py MODULE:FUNCTION`` calls it; ``python poison.py --import PACKAGE...`` imports
every module of the packages and prints those that can't be, as JSON. Nothing of Clonepool may be
imported before, so this file imports nothing of it at its top.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import signal
import socket
import sys
from typing import Any

_MODULES = "crypt fcntl grp nis pty pwd resource spwd syslog termios tty"
_OS = (
    "O_CLOEXEC O_DIRECT O_DIRECTORY O_NOFOLLOW O_PATH O_TMPFILE SEEK_DATA SEEK_HOLE chown "
    "copy_file_range eventfd fchown fork forkpty fstatvfs getegid geteuid getgid getgroups "
    "getloadavg getpgid getresuid getuid getxattr killpg lchown listxattr lockf memfd_create "
    "mkfifo mknod nice openpty pidfd_open posix_fadvise posix_fallocate pread preadv pwrite "
    "pwritev sched_getaffinity sched_setaffinity sendfile setgid setpgid setsid setuid setxattr "
    "splice statvfs sync uname"
)
_SIGNALS = (
    "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_sigmask "
    "setitimer sigwait"
)
_SOCKETS = "AF_UNIX"


def poison() -> None:
    """Take away what Windows lacks; the standard library itself does without."""
    for name in _MODULES.split():
        # importing it fails now, as if it were not there
        sys.modules[name] = None  # type: ignore[assignment]  # what the import system looks for
    holders: tuple[tuple[Any, str], ...] = (
        (os, _OS),
        (signal, _SIGNALS),
        (socket, _SOCKETS),
    )
    for holder, names in holders:
        for name in names.split():
            if hasattr(holder, name):
                delattr(holder, name)
    platform.system = lambda: "Windows"


def failing_imports(packages: list[str]) -> dict[str, str]:
    """The modules that can't be imported, and why."""
    failed = {}
    for package in packages:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            try:
                importlib.import_module(module.name)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
                failed[module.name] = repr(error)
    return failed


def main() -> int:
    what, *words = sys.argv[1:]
    poison()
    if what == "--import":
        print(json.dumps(failing_imports(words)))
        return 0
    module, _, function = what.partition(":")
    sys.argv[1:] = words
    return int(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    sys.exit(main())

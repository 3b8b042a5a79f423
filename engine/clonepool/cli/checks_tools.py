"""Doctor's checks of programs and Python packages."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Final

from clonepool import commands
from clonepool.cli.checks import Check, broken, good, lacking
from clonepool.errors import CommandError

_OLDEST_PYTHON: Final = (3, 11)
_EXTRA: Final = ("sqlmodel", "alembic", "cryptography", "grpc_health", "grpc_reflection")
# a normal user's PATH often lacks where Debian puts tgtd, debugfs and iscsiadm
_MORE_PATH: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_VERSION_TIMEOUT_S: Final = 10.0


def check_tools() -> Iterator[Check]:
    """Python, the engine's packages, and each outside program."""
    yield _python()
    yield _packages()
    yield _tool(
        "tgtd",
        ("tgtd",),
        lack="no iSCSI exports from this machine; the local fabric works",
        mend="apt-get install tgt",
        version_flag="-V",
    )
    yield _tool(
        "initiator",
        ("iscsiadm", "iscsi-ls"),
        lack="this machine can't log in to an export itself (servers do that, and the demo)",
        mend="apt-get install libiscsi-bin, or open-iscsi",
    )
    yield _tool(
        "qemu-img",
        ("qemu-img",),
        lack="only raw images can be imported",
        mend="apt-get install qemu-utils",
        version_flag="--version",
    )
    yield _tool(
        "debugfs",
        ("debugfs",),
        lack="images can't be pre-configured with files",
        mend="apt-get install e2fsprogs",
        version_flag="-V",
    )
    yield _tool(
        "pulumi",
        ("pulumi",),
        lack="the command line and other programs work; `pulumi up` does not",
        mend="see https://www.pulumi.com/docs/install/",
        version_flag="version",
    )


def find_program(name: str) -> str | None:
    """The path of a program, looked for also where system programs lie."""
    return shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), *_MORE_PATH]))


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return broken("python", version, "use Python 3.11 or newer")
    return good("python", f"{version} at {sys.executable}")


def _packages() -> Check:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if not missing:
        return good("packages", "all that the engine needs")
    return lacking(
        "packages",
        f"no engine can run here: {', '.join(missing)} missing",
        "pip install 'clonepool[engine]'",
    )


def _tool(
    name: str, programs: Sequence[str], *, lack: str, mend: str, version_flag: str = ""
) -> Check:
    found = next((path for path in map(find_program, programs) if path), None)
    if found is None:
        return lacking(name, f"not installed: {lack}", mend)
    version = _version(found, version_flag) if version_flag else ""
    return good(name, f"{version} at {found}" if version else found)


def _version(program: str, flag: str) -> str:
    """The first line that a program says of its version; "" where it says nothing."""
    try:
        said = commands.run([program, flag], timeout_s=_VERSION_TIMEOUT_S)
    except CommandError:
        return ""
    lines = (said.stdout.decode(errors="replace") or said.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""

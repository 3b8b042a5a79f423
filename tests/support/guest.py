"""A guest whose kernel has what the host's may lack: device-mapper's thin pools and LIO.

Debian's user-mode Linux boots in some three seconds, needs no image and no virtual machine: its
root is the host's own under a throw-away overlay. Its processor is the host's, its system calls
are ten times slower. ``python -m tests.support.guest COMMAND...`` runs a command in it by hand.
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from clonepool import commands

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = "linux.uml"
_HERE: Final = Path(__file__).parent
_MODULES: Final = Path("/usr/lib/uml/modules")
# what starts the guest and what it calls itself, by the Debian package that brings it
_COMPILER: Final = "gcc"
_PROGRAMS: Final = {
    PROGRAM: "user-mode-linux",
    "insmod": "kmod",
    "ip": "iproute2",
    _COMPILER: "gcc",
}
_KILL_AFTER_S: Final = 5
_COMPILE_TIMEOUT_S: Final = 60
_SHOWN_CHARS: Final = 4000


class GuestFailed(Exception):
    """The guest didn't come to the end of its command; the text has what it printed."""


@dataclass(frozen=True, kw_only=True)
class GuestRun:
    """How a command ended in the guest."""

    code: int
    output: str


def in_guest() -> bool:
    """Whether this process runs in the guest."""
    return os.environ.get("CLONEPOOL_GUEST") == "1"


def find_missing(*, which: Mapping[str, str | None]) -> tuple[str, ...]:
    """The Debian packages that a guest needs and that are not here; ``which`` has the programs."""
    return tuple(package for name, package in _PROGRAMS.items() if which.get(name) is None)


def programs() -> tuple[str, ...]:
    """The programs that ``find_missing`` asks for."""
    return tuple(_PROGRAMS)


def has_kernel() -> bool:
    """Whether there is a user-mode Linux for this kind of processor."""
    return platform.machine() == "x86_64"


def run_in_guest(
    argv: Sequence[str],
    *,
    share: Path,
    timeout_s: float,
    cwd: Path = ROOT,
    memory_mib: int = 1024,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> GuestRun:
    """Boot the guest, run ``argv`` as root in it, and power it off.

    ``share`` is an empty folder that both sides write, at the same path; else the guest changes
    nothing of the host's. What it makes elsewhere is gone with it, and takes of its memory. Raises
    GuestFailed when it doesn't boot or isn't done within ``timeout_s``; no process of it is left.
    """
    if set(str(share)) & set(" ,\t\n"):
        raise ValueError(f"{share} can't be written on a kernel's command line")
    (share / "job").write_text(_job(argv, cwd=cwd, environment=environment))
    with _memory_folder(memory_mib=memory_mib) as memory, (share / "console").open("wb") as console:
        ended = _boot(share, memory=memory, memory_mib=memory_mib, timeout_s=timeout_s, out=console)
    return _result(share, argv=argv, ended=ended, timeout_s=timeout_s)


def _job(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> str:
    exports = "".join(f"export {n}={shlex.quote(v)}\n" for n, v in environment.items())
    return f"{exports}cd {shlex.quote(str(cwd))} || exit\nexec {shlex.join(argv)}\n"


def _boot(share: Path, *, memory: Path, memory_mib: int, timeout_s: float, out: IO[bytes]) -> int:
    """Run the guest to its end; timeout(1) ends it even where this process is killed."""
    argv = ["timeout", f"--kill-after={_KILL_AFTER_S}", f"{timeout_s:g}", PROGRAM]
    argv += [f"mem={memory_mib}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
    argv += ["quiet", f"init={_HERE / 'guest_init'}", "con0=null,fd:1", "con=null"]
    argv += [f"uml_dir={memory}", f"guest_share={share}", f"guest_modules={_MODULES}"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(memory)}
    if _needs_padding():
        environment["LD_PRELOAD"] = str(compile_padding(memory))
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=timeout_s + 2 * _KILL_AFTER_S)
    finally:
        # the guest's processes are the host's too, and all in this group
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _result(share: Path, *, argv: Sequence[str], ended: int, timeout_s: float) -> GuestRun:
    with suppress(FileNotFoundError):
        code = int((share / "code").read_text())
        return GuestRun(code=code, output=_read(share / "output"))
    why = f"ended with {ended} before its command did"
    if ended in {124, 128 + signal.SIGKILL}:
        why = f"was not done after {timeout_s:g} s"
    parts = [f"the guest {why}: {shlex.join(argv)}"]
    parts += [
        f"--- its {name}\n{_read(share / name)[-_SHOWN_CHARS:]}" for name in ("console", "output")
    ]
    raise GuestFailed("\n".join(parts))


def _read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_bytes().replace(b"\r\n", b"\n").decode(errors="replace")
    return ""


@contextmanager
def _memory_folder(*, memory_mib: int) -> Iterator[Path]:
    """Where the guest's memory lies, as a file: in memory, where it fits and may be executed."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    fits = False
    with suppress(OSError):
        facts = os.statvfs(shared)
        free_bytes = facts.f_bavail * facts.f_frsize
        fits = not facts.f_flag & os.ST_NOEXEC and free_bytes > memory_mib * 2**20
    with tempfile.TemporaryDirectory(prefix="guest-", dir=shared if fits else None) as folder:
        yield Path(folder)


def _needs_padding() -> bool:
    """Whether this CPU has more registers than the guest's kernel keeps (see xsave_pad.c)."""
    with suppress(OSError):
        return " amx_tile" in Path("/proc/cpuinfo").read_text()
    return False


def compile_padding(folder: Path) -> Path:
    """Compile xsave_pad.c into ``folder``. Raises CommandError."""
    library = folder / "xsave_pad.so"
    source = _HERE / "xsave_pad.c"
    argv = [_COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source]
    commands.run([str(word) for word in argv], timeout_s=_COMPILE_TIMEOUT_S)
    return library


def main(argv: Sequence[str]) -> int:
    """Run a command in the guest; its exit code is ours."""
    with tempfile.TemporaryDirectory(prefix="guest-share-") as share:
        run = run_in_guest(argv, share=Path(share), timeout_s=600, cwd=Path.cwd())
    sys.stdout.write(run.output)
    return run.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

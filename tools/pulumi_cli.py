#!/usr/bin/env python3
"""Find, or get, a Pulumi command line; prints the folder to put on PATH.

In order: one on PATH that is new enough; one built before; with `go`, one built from the pinned
modules in tools/gomodules; outside CI, Pulumi's own installer. Exit code 0 with the folder on
stdout, 3 where there is none and the caller may go on without, 1 where CI should have had one.
Nothing but the standard library, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).resolve().parent / "gomodules"
VERSION = "3.259.0"
OLDEST = (3, 200, 0)
INSTALLER_HOST = "https://get.pulumi.com/"
HELP = "install it as https://www.pulumi.com/docs/install/ says"
EXIT_NONE = 3
# from a cold cache on two cores the command line takes under four minutes
BUILD_TIMEOUT_S = 1800
# what a Python program needs beside `pulumi`; the scripts come from the SDK's module
COMPANIONS = (
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-pulumi-python",
)


class Failed(Exception):
    """A Pulumi command line could not be got this way; the message says why."""


@dataclass(frozen=True, kw_only=True)
class GoCommand:
    """One command, built from a module folder whose go.mod and go.sum pin everything."""

    name: str
    module: str
    package: str

    def digest(self) -> str:
        """Changes whenever a pinned module, the package or the version does."""
        folder = MODULES / self.module
        parts = [(folder / name).read_bytes() for name in ("go.mod", "go.sum")]
        return hashlib.sha256(b"\n".join([*parts, repr((self, VERSION)).encode()])).hexdigest()


COMMANDS = (
    GoCommand(
        name="pulumi",
        module="pulumi",
        package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    ),
    GoCommand(
        name="pulumi-language-python",
        module="language-python",
        package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
    ),
)
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
SDK_SCRIPTS = {
    "pulumi-language-python-exec": "python/cmd/pulumi-language-python-exec",
    "pulumi-resource-pulumi-python": "python/dist/pulumi-resource-pulumi-python",
}


def say(message: str) -> None:
    """Tell the person; stdout is for the folder alone."""
    print(f"pulumi: {message}", file=sys.stderr, flush=True)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def cache_folder() -> Path:
    """Outside the checkout, so that a fresh clone finds what another one built."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "clonepool" / f"pulumi-{VERSION}"


def run(argv: Sequence[str], *, timeout_s: float, cwd: Path | None = None) -> str:
    """Run and return stdout. Raises Failed with the end of stderr."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{argv[0]}: {error}") from None
    if done.returncode != 0:
        raise Failed(f"{argv[0]} {argv[1]} exited with {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout


def version_of(pulumi: Path) -> tuple[int, ...]:
    """The version it prints (``v3.259.0``), () where it prints none."""
    try:
        text = run([str(pulumi), "version"], timeout_s=60)
    except Failed:
        return ()
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return tuple(int(number) for number in match.groups()) if match else ()


def on_path() -> Path | None:
    """The folder of the one on PATH, if it is new enough and can run Python programs."""
    found = shutil.which("pulumi")
    if found is None:
        return None
    folder = Path(found).parent
    version = version_of(Path(found))
    if version < OLDEST:
        say(f"{found} is {'.'.join(map(str, version)) or 'broken'}; needs 3.200 or newer")
        return None
    absent = [name for name in COMPANIONS if shutil.which(name) is None]
    if absent:
        say(f"{found} lacks {', '.join(absent)} beside it")
        return None
    return folder


def stamp_of(name: str) -> Path:
    return cache_folder() / f"{name}.built"


def is_built(command: GoCommand) -> bool:
    stamp = stamp_of(command.name)
    binary = cache_folder() / "bin" / command.name
    return binary.exists() and stamp.exists() and stamp.read_text() == command.digest()


def built() -> Path | None:
    """The folder of one built (or installed) before, complete and of the pinned modules."""
    folder = cache_folder() / "bin"
    scripts = all((folder / name).exists() for name in SDK_SCRIPTS)
    if scripts and all(map(is_built, COMMANDS)):
        return folder
    installed = installer_root() / "bin"
    return installed if (installed / "pulumi").exists() else None


def find() -> Path | None:
    """The folder of a Pulumi command line that is here already; builds and fetches nothing."""
    return on_path() or built()


@contextmanager
def locked() -> Iterator[None]:
    """Hold the cache against a second build; the lock goes with the process."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def put(source: Path, *, name: str) -> None:
    """Move a finished file into place in one step: an interrupted build never looks done."""
    target = cache_folder() / "bin" / name
    target.parent.mkdir(exist_ok=True)
    source.chmod(0o755)
    source.replace(target)


def build(command: GoCommand, *, scratch: Path) -> None:
    """Build one command from its pinned modules; the stamp is written last."""
    say(f"building {command.name} from Go modules, once; from an empty cache it takes minutes")
    # the SDK checks this version against its own minimum; unset, it refuses to start
    flag = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    argv = ["go", "build", "-mod=readonly", "-tags", "osusergo,grpcnotrace"]
    argv += ["-ldflags", f"-s -w {flag}", "-o", str(scratch / command.name), command.package]
    run(argv, cwd=MODULES / command.module, timeout_s=BUILD_TIMEOUT_S)
    put(scratch / command.name, name=command.name)
    (scratch / "stamp").write_text(command.digest())
    (scratch / "stamp").replace(stamp_of(command.name))


def copy_scripts(*, scratch: Path) -> None:
    """Take the two scripts of the Python host out of the SDK's module."""
    argv = ["go", "mod", "download", "-json", SDK_MODULE]
    described: Mapping[str, str] = json.loads(
        run(argv, cwd=MODULES / "pulumi", timeout_s=BUILD_TIMEOUT_S)
    )
    for name, inside in SDK_SCRIPTS.items():
        shutil.copyfile(Path(described["Dir"]) / inside, scratch / name)
        put(scratch / name, name=name)


def build_all() -> Path:
    """Build what is missing. Raises Failed."""
    with locked(), tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as scratch:
        for command in COMMANDS:
            if not is_built(command):
                build(command, scratch=Path(scratch))
        copy_scripts(scratch=Path(scratch))
    return cache_folder() / "bin"


def installer_root() -> Path:
    return cache_folder() / "installed"


def install() -> Path:
    """Run the installer that Pulumi's SDK brings. Raises Failed, soon where there is no way out."""
    try:
        urllib.request.urlopen(INSTALLER_HOST, timeout=10).close()
        # the virtual environment's; this file itself needs nothing of it
        from pulumi.automation import PulumiCommand  # noqa: PLC0415
        from semver import VersionInfo  # noqa: PLC0415

        PulumiCommand.install(version=VersionInfo.parse(VERSION), root=str(installer_root()))
    except urllib.error.URLError as error:
        raise Failed(f"{INSTALLER_HOST} is not reachable: {error.reason}") from None
    except ImportError as error:
        raise Failed(f"the SDK's installer is not here ({error})") from None
    except Exception as error:  # noqa: BLE001 - the SDK raises bare Exception
        raise Failed(f"Pulumi's installer failed: {error}") from None
    return installer_root() / "bin"


def ensure() -> Path:
    """The folder of a Pulumi command line, got where it has to be. Raises Failed."""
    here = find()
    if here is not None:
        return here
    if shutil.which("go") is not None:
        return build_all()
    if in_ci():
        raise Failed("neither a Pulumi command line nor `go` to build one is here")
    return install()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--find", action="store_true", help="only look, build and fetch nothing")
    asked = parser.parse_args()
    try:
        folder = find() if asked.find else ensure()
    except Failed as error:
        say(f"{error}\npulumi: going on without; {HELP}")
        # CI has `go` on purpose: a build that fails there is not to become a skip
        return 1 if in_ci() and shutil.which("go") else EXIT_NONE
    if folder is None:
        return EXIT_NONE
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

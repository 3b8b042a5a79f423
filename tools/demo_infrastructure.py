"""How the demo says what it wants: a Pulumi program, or the same through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clonepool.testing.interrupts import undisturbed

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "demo"
_TIMEOUT_S = 120
_ABORT_TIMEOUT_S = 10
_ABORT_POLL_S = 0.05
_ERROR_LINES = 3


class DemoFailed(Exception):
    """A step or a check failed; the message is what the demo ends with."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What there shall be; everything else of the demo's program is fixed."""

    base: Path
    data: Path
    fabric: str
    customer: str = "acme"
    servers: int = 0


class Infrastructure(ABC):
    """Makes the engine hold what is wanted, and tells the names it goes by there."""

    title: str
    left_out: str = ""

    @abstractmethod
    def apply(self, wanted: Wanted) -> None:
        """Make it so; blocks until it is. Raises DemoFailed."""

    @abstractmethod
    def destroy(self) -> None:
        """Remove all of it."""

    @abstractmethod
    def attachments(self) -> Mapping[str, str]:
        """The engine's name of each server's attachment."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, str]:
        """The engine's names of the image and the pool."""


class PulumiStack(Infrastructure):
    """The program in examples/demo, with a state, a home and a stack of its own."""

    def __init__(self, *, pulumi: Path, folder: Path, endpoint: str) -> None:
        self._folder = folder
        self._program = folder / "program"
        self._pulumi = str(pulumi)
        self._environment = _pulumi_environment(folder, pulumi=pulumi, endpoint=endpoint)
        self._outputs: Mapping[str, Any] = {}
        (folder / "state").mkdir(parents=True)
        shutil.copytree(EXAMPLE, self._program)
        project = self._program / "Pulumi.yaml"
        project.write_text(project.read_text().replace("../../.venv", sys.prefix))
        self._run("stack", "init", "demo")
        self.title = f"pulumi {self._run('version').strip()}"

    def apply(self, wanted: Wanted) -> None:
        """One `pulumi up`."""
        settings = [f"{name}={value}" for name, value in vars(wanted).items()]
        flags = [word for setting in settings for word in ("--config", setting)]
        self._run("up", "--yes", "--skip-preview", *flags)
        self._outputs = json.loads(self._run("stack", "output", "--json"))

    def destroy(self) -> None:
        """One `pulumi destroy`."""
        self._run("destroy", "--yes", "--skip-preview")

    def attachments(self) -> Mapping[str, str]:
        """As the program exports them."""
        found: Mapping[str, str] = self._outputs["attachments"]
        return found

    @property
    def names(self) -> tuple[str, str]:
        """As the program exports them."""
        return str(self._outputs["image"]), str(self._outputs["pool"])

    def _run(self, *words: str) -> str:
        argv = [self._pulumi, *words, "--non-interactive", "--color=never"]
        return run(argv, environment=self._environment, folder=self._program)


class CommandLine(Infrastructure):
    """The same through `clonepool image create`, `pool create`, `attach` and `release`."""

    title = "the clonepool command line"
    left_out = (
        "Pulumi: there is no Pulumi command line here (tools/pulumi_cli.py gets one; see "
        "https://www.pulumi.com/docs/install/), so the clonepool command line did its part"
    )
    names = ("demo", "demo")

    def __init__(self, *, endpoint: str) -> None:
        self._environment = {**os.environ, "CLONEPOOL_ENDPOINT": endpoint}
        self._attached: dict[str, str] = {}

    def apply(self, wanted: Wanted) -> None:
        """Create what is absent, release what is too much."""
        self._clonepool(
            "image", "create", "demo", f"--read-only={wanted.base}", f"--writable={wanted.data}",
            "--file=/etc/motd=Configured once.\n",
        )  # fmt: skip
        self._clonepool(
            "pool", "create", "demo", "--image=demo", f"--fabric={wanted.fabric}",
            "--min-ready=3", "--max-replicas=3", "--wait-for-ready=3", "--scrub-threshold=3",
        )  # fmt: skip
        names = [f"{wanted.customer}-{number}" for number in range(1, wanted.servers + 1)]
        for name in [name for name in self._attached if name not in names]:
            self._release(name)
        for name in names:
            self._attach(name, wanted)

    def _attach(self, name: str, wanted: Wanted) -> None:
        self._clonepool(
            "attach", name, "--pool=demo", f"--system-user=customer/{wanted.customer}",
            f"--server={name}", f"--initiator=iqn.2026-01.com.example:{name}",
            f"--chap={'generated' if wanted.fabric == 'iscsi' else 'none'}",
        )  # fmt: skip
        self._attached[name] = name

    def _release(self, name: str) -> None:
        self._clonepool("release", name)
        del self._attached[name]

    def destroy(self) -> None:
        """Release, then delete pool and image."""
        for name in list(self._attached):
            self._release(name)
        self._clonepool("pool", "delete", "demo")
        self._clonepool("image", "delete", "demo")

    def attachments(self) -> Mapping[str, str]:
        """Named as their servers are."""
        return self._attached

    def _clonepool(self, *words: str) -> None:
        program = [sys.executable, "-c", "from clonepool.cli import main; raise SystemExit(main())"]
        run([*program, *words], environment=self._environment)


def run(argv: Sequence[str], *, environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Run a command to its end and return its stdout. Raises DemoFailed with its last words.

    It has a session of its own: on Ctrl-C it is asked to end, and given time to, and so is whatever
    it started.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with undisturbed() as deliver_interrupt:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        deliver_interrupt()
        output, _ = process.communicate(timeout=_TIMEOUT_S)
    except BaseException:
        if process is not None:
            _end_session(process)
        raise
    if process.returncode != 0:
        said = " / ".join(_telling(output)) or "it said nothing"
        raise DemoFailed(f"`{Path(argv[0]).name} {_short(argv)}` failed: {said}")
    return output


def _short(argv: Sequence[str]) -> str:
    words = argv[3:] if argv[1] == "-c" else argv[1:]
    return " ".join(words[:2])


def _telling(output: str) -> Sequence[str]:
    """The lines that say what went wrong, else the last ones."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return (errors or lines)[-_ERROR_LINES:]


def _end_session(process: subprocess.Popen[str]) -> None:
    """Ask first: Pulumi ends its plugins when it is interrupted, and not when it is killed.

    They have process groups of their own, and may still write when Pulumi itself has ended.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    for end in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _ABORT_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_ABORT_POLL_S)
            if not (left := _members(session=process.pid)):
                return
            time.sleep(_ABORT_POLL_S)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, end)


def _members(*, session: int) -> Sequence[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # the name in parentheses may hold anything; then state, parent, group, session
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def _pulumi_environment(folder: Path, *, pulumi: Path, endpoint: str) -> Mapping[str, str]:
    """Offline, and apart from whatever Pulumi the user has."""
    ours = ("PULUMI_", "CLONEPOOL_")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    path = [str(Path(sys.prefix) / "bin"), str(pulumi.parent), os.environ.get("PATH", os.defpath)]
    return {
        **inherited,
        "CLONEPOOL_ENDPOINT": endpoint,
        "PATH": os.pathsep.join(path),
        "PULUMI_BACKEND_URL": f"file://{folder}/state",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_CONFIRMATIONS": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # older language hosts read this, current ones read Pulumi.yaml
        "VIRTUAL_ENV": sys.prefix,
    }

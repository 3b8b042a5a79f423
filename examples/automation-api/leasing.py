"""Lease servers with storage from a pool for a while, by Pulumi's Automation API.

A lease is a Pulumi stack of its own: leases of several runs don't know of each other, and a run
that died can be given back by its name, from anywhere that reaches the stacks' backend. A run's
name must be its own among all that lease from the same engine: its servers are called by it.

    leases = Leases()
    with leases.leased("nightly-7", Wanted(pool="web", count=2)) as servers:
        run_tests(servers)
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pulumi
from interruptible import InterruptiblePulumi, is_abandoned
from pulumi import automation

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, NotFound
from pulumi_clonepool import InlineServerArgs, ServerStorageAttachment, SystemUserArgs

Answer = TypeVar("Answer")
PROJECT = "clonepool-leases"
RUN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
LARGEST = 100
# an update whose program was killed ends when its servers have waited for as long as they may
PATIENCE_S = 360.0
_LOCKED_PAUSE_S = 1.0
_ATTACHMENT = "ServerStorageAttachment"


class LeaseError(Exception):
    """It can't be leased or given back; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be leased.

    With ``labels`` the servers are free ones of the engine's inventory; without, they are made
    known to it, with initiator names that begin with ``initiator_prefix``. ``system_user`` is a
    customer's name, needed where the pool's image is shared. ``timeout`` is how long a server may
    wait for its storage.
    """

    pool: str
    count: int = 1
    system_user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    initiator_prefix: str = "iqn.2026-01.com.example"
    timeout: str = "5m"


@dataclass(frozen=True, kw_only=True)
class LeasedServer:
    """One server and its storage: what it takes to log in."""

    server: str
    volume: str
    warm: bool
    connection: Mapping[str, Any]
    chap_username: str
    chap_secret: str = field(repr=False)


class Leases:
    """Takes and gives back. The stacks are where Pulumi is told to keep them, else in a folder."""

    def __init__(self, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._variables = state_variables()
        self._command = self._call(InterruptiblePulumi)
        self._say = say

    def take(self, run: str, wanted: Wanted) -> Sequence[LeasedServer]:
        """Lease for a run, all or nothing; the same again gives the same servers.

        A first lease that fails, or is interrupted, is given back. Raises LeaseError.
        """
        _check(run, wanted)
        known = run in self.names()
        select = partial(
            automation.create_or_select_stack,
            stack_name=run,
            project_name=PROJECT,
            program=partial(declare, run, wanted),
            opts=self._options(),
        )
        try:
            stack = self._call(select)
            self._update(stack, stack.up)
        except BaseException:
            if not known:
                self._say(f"giving back what was leased for {run}")
                self.give_back(run)
            raise
        return _servers(self._call(stack.outputs))

    def show(self, run: str) -> Sequence[LeasedServer]:
        """What is leased for a run. Raises LeaseError where nothing is."""
        stack = self._find(run)
        if stack is None:
            held = ", ".join(self.names()) or "none"
            raise LeaseError(f"nothing is leased for {run}; leases: {held}")
        return _servers(self._call(stack.outputs))

    def give_back(self, run: str, *, force: bool = False) -> bool:
        """Release everything of a run; False where nothing was leased for it.

        May be repeated, and works after a crash: the lock of a Pulumi that was killed on this
        machine is broken, and an update that still runs is waited for. ``force`` breaks the lock
        of another machine's; never do that to an update that runs. Raises LeaseError.
        """
        stack = self._find(run)
        if stack is None:
            return False
        if force:
            self._call(stack.cancel)
        lost: set[str] = set()

        def destroy(**options: Any) -> None:
            # what a killed update had asked for may have been made, and the state not know it;
            # destroying forgets it
            lost.update(_pending(stack.export_stack().deployment or {}))
            stack.destroy(**options)

        self._update(stack, destroy)
        _release(sorted(lost))
        self._call(partial(stack.workspace.remove_stack, run))
        return True

    @contextmanager
    def leased(self, run: str, wanted: Wanted) -> Iterator[Sequence[LeasedServer]]:
        """Lease for the length of a block."""
        servers = self.take(run, wanted)
        try:
            yield servers
        finally:
            self._say(f"giving back what was leased for {run}")
            self.give_back(run)

    def names(self) -> Sequence[str]:
        """The runs that something is leased for."""
        options = self._options()
        options.project_settings = automation.ProjectSettings(name=PROJECT, runtime="python")
        workspace = self._call(partial(automation.LocalWorkspace, **vars(options)))
        return sorted(stack.name for stack in self._call(workspace.list_stacks))

    def _options(self) -> automation.LocalWorkspaceOptions:
        return automation.LocalWorkspaceOptions(
            pulumi_command=self._command, env_vars=dict(self._variables)
        )

    def _find(self, run: str) -> automation.Stack | None:
        select = partial(
            automation.select_stack,
            stack_name=run,
            project_name=PROJECT,
            program=lambda: None,
            opts=self._options(),
        )
        try:
            return self._call(select)
        except automation.StackNotFoundError:
            return None

    def _update(self, stack: automation.Stack, update: Callable[..., Any]) -> None:
        """Carry out an update, after the one that has the stack now."""
        deadline = time.monotonic() + PATIENCE_S
        said = False
        while True:
            told: list[str] = []
            try:
                self._call(partial(update, on_event=partial(_note, told)), told=told)
            except automation.ConcurrentUpdateError as error:
                if is_abandoned(str(error)):
                    self._say("breaking the lock of a Pulumi that is gone")
                    self._call(stack.cancel)
                elif time.monotonic() > deadline:
                    text = f"another update has {stack.name}; wait for it or, where it was killed"
                    raise LeaseError(f"{text} on another machine, give-back --force") from None
                elif not said:
                    said = True
                    self._say(f"waiting for the update that has {stack.name} now")
                time.sleep(_LOCKED_PAUSE_S)
            else:
                return

    def _call(self, act: Callable[[], Answer], *, told: Sequence[str] = ()) -> Answer:
        """Pulumi's failures as one line."""
        try:
            return act()
        except (automation.ConcurrentUpdateError, automation.StackNotFoundError):
            raise
        except FileNotFoundError:
            text = "no `pulumi` is on PATH; see https://www.pulumi.com/docs/install/"
            raise LeaseError(text) from None
        except automation.CommandError as error:
            lines = [line for line in str(error).splitlines() if "error:" in line]
            text = "; ".join(dict.fromkeys(told)) or "; ".join(lines) or str(error)
            raise LeaseError(" ".join(text.split())) from None


def declare(run: str, wanted: Wanted) -> None:
    """The program of a lease: one attachment for each server."""
    made = []
    for number in range(1, wanted.count + 1):
        name = f"{run}-{number}"
        server: InlineServerArgs = {
            "name": name,
            "initiator": f"{wanted.initiator_prefix}:{name}",
        }
        user: SystemUserArgs = {"name": wanted.system_user, "kind": "customer"}
        attachment = ServerStorageAttachment(
            name,
            pool=wanted.pool,
            system_user=user if wanted.system_user else None,
            inline_server=None if wanted.labels else server,
            server_selector=wanted.labels or None,
            timeouts={"create": wanted.timeout},
        )
        keys = ("server", "volume", "warm", "connection", "chap_username", "chap_secret")
        made.append({key: getattr(attachment, key) for key in keys})
    pulumi.export("servers", pulumi.Output.secret(made))


def state_variables() -> Mapping[str, str]:
    """Where the stacks are kept, and what their secrets are encrypted with.

    Nothing where PULUMI_BACKEND_URL or PULUMI_ACCESS_TOKEN says it; else a folder of this user's.
    """
    variables: dict[str, str] = {}
    folder = _state_folder()
    if not (os.environ.get("PULUMI_BACKEND_URL") or os.environ.get("PULUMI_ACCESS_TOKEN")):
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        variables["PULUMI_BACKEND_URL"] = state.as_uri()
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(os.environ):
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_passphrase(folder))
    return variables


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / PROJECT


def _passphrase(folder: Path) -> Path:
    """A file with a random passphrase, made once; several processes may come at the same time."""
    path = folder / "passphrase"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = folder / f"passphrase.{os.getpid()}"
        write_private(scratch, secrets.token_urlsafe(32))
        try:
            # unlike a rename it leaves the one that was first
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whoever could read the one in its place."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


def _check(run: str, wanted: Wanted) -> None:
    if not RUN.fullmatch(run):
        raise LeaseError(f"{run!r} is no name: 1 to 40 of a-z, 0-9 and -, no - at either end")
    if not 1 <= wanted.count <= LARGEST:
        raise LeaseError(f"{wanted.count} servers: 1 to {LARGEST} can be leased at once")


def _servers(outputs: Mapping[str, automation.OutputValue]) -> Sequence[LeasedServer]:
    held = outputs.get("servers")
    return [LeasedServer(**each) for each in held.value] if held else []


def _note(told: list[str], event: automation.EngineEvent) -> None:
    """Keep the errors that Pulumi shows, without its marks for colours."""
    shown = event.diagnostic_event
    if shown is not None and shown.severity == "error":
        text = re.sub(r"<\{%[^%]*%\}>", "", shown.message).strip()
        # it says nothing that the others don't
        if text != "update failed":
            told.append(text)


def _pending(deployment: Mapping[str, Any]) -> Iterator[str]:
    """The names of attachments whose creation was begun and not heard of again."""
    for operation in deployment.get("pending_operations") or ():
        resource = operation["resource"]
        if operation["type"] == "creating" and resource["type"].endswith(_ATTACHMENT):
            yield str(resource["inputs"]["name"])


def _release(names: Sequence[str]) -> None:
    """Release attachments by name; their names are made of this project and the run."""
    if not names:
        return
    try:
        with EngineClient.connect() as client:
            for name in names:
                try:
                    found = client.call("GetAttachment", pb.GetAttachmentRequest(name=name))
                except NotFound:
                    continue
                client.call("DeleteAttachment", pb.DeleteAttachmentRequest(id=found.id))
    except ClonepoolError as error:
        raise LeaseError(str(error)) from None

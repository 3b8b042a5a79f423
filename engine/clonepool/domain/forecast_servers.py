"""The servers in a forecast: which one an attachment takes, and whom it serves meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clonepool.domain.drift import list_names
from clonepool.domain.forecast import Attach, ServerView
from clonepool.domain.model import ServerSpec, SystemUser


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why something will not work: the engine's own reason, and a text with the way out."""

    reason: str
    text: str


@dataclass(kw_only=True, eq=False)
class _Server:
    spec: ServerSpec
    inline: bool
    system_user: SystemUser | None
    attachments: set[str]


class ServerStock:
    """Servers that change as the forecast goes on, in the order a selector picks them."""

    def __init__(self, views: Sequence[ServerView]) -> None:
        self._servers = {
            view.spec.name: _Server(
                spec=view.spec,
                inline=view.inline,
                system_user=view.system_user,
                attachments=set(),
            )
            for view in views
        }

    def hold(self, server: str, attachment: str) -> None:
        """Note an attachment that is there already."""
        if server in self._servers:
            self._servers[server].attachments.add(attachment)

    def put(self, spec: ServerSpec, *, create: bool) -> Refusal | None:
        """Create or change a server."""
        known = self._servers.get(spec.name) if spec.name else None
        if known is not None and create:
            return _taken("server", spec.name)
        other = self._of_initiator(spec.initiator)
        if other is not None and other is not known:
            return _initiator_taken(spec, other)
        if known is not None:
            known.spec = spec
        elif spec.name:
            self._add(spec, inline=False)
        return None

    def delete(self, name: str) -> Refusal | None:
        """Forget a server that has no attachments; absent is fine."""
        server = self._servers.get(name)
        if server is not None and server.attachments:
            held = list_names(server.attachments)
            return Refusal(
                reason="SERVER_IN_USE",
                text=f"server {name} has attachments ({held}); release them first",
            )
        self._servers.pop(name, None)
        return None

    def take(self, change: Attach, *, user: SystemUser | None, needs_initiator: bool) -> object:
        """The server for an attachment, to be kept by ``keep``; or the Refusal."""
        spec = change.spec
        if spec.inline_server is not None:
            server = self._inline(spec.inline_server)
        elif spec.server:
            server = self._servers.get(spec.server) or _missing(spec.server)
        elif spec.server_selector:
            server = self._picked(change, needs_initiator=needs_initiator)
        else:
            return None
        if isinstance(server, Refusal):
            return server
        return _check(server, user=user, needs_initiator=needs_initiator) or server

    def keep(self, server: object, *, attachment: str, user: SystemUser | None) -> str:
        """The attachment is made: the server serves this system user until it is given back.

        Returns the server's name, "" where it is known only after the apply.
        """
        if not isinstance(server, _Server):
            return ""
        self._servers.setdefault(server.spec.name, server)
        server.attachments.add(attachment)
        server.system_user = server.system_user or user
        return server.spec.name

    def give_back(self, *, server: str, attachment: str) -> None:
        """The last attachment frees the server; an inline one goes with it."""
        held = self._servers.get(server)
        if held is None:
            return
        held.attachments.discard(attachment)
        if held.attachments:
            return
        held.system_user = None
        if held.inline:
            del self._servers[server]

    def _add(self, spec: ServerSpec, *, inline: bool) -> None:
        self._servers[spec.name] = _Server(
            spec=spec, inline=inline, system_user=None, attachments=set()
        )

    def _of_initiator(self, initiator: str) -> _Server | None:
        found = (each for each in self._servers.values() if each.spec.initiator == initiator)
        return next(found, None) if initiator else None

    def _inline(self, spec: ServerSpec) -> _Server | Refusal:
        known = self._servers.get(spec.name)
        if known is None:
            other = self._of_initiator(spec.initiator)
            if other is not None:
                return _initiator_taken(spec, other)
            return _Server(spec=spec, inline=True, system_user=None, attachments=set())
        if known.inline and known.spec == spec:
            return known
        text = (
            f"server {spec.name} exists with other properties; name it by `server` instead of "
            "`inline_server`, or take another name"
        )
        return Refusal(reason="NAME_TAKEN", text=text)

    def _picked(self, change: Attach, *, needs_initiator: bool) -> _Server | Refusal:
        wanted = change.spec.server_selector
        for server in self._servers.values():
            fits = wanted.items() <= dict(server.spec.labels).items()
            if fits and not server.attachments and (server.spec.initiator or not needs_initiator):
                return server
        asked = ", ".join(f"{key}={value}" for key, value in wanted.items())
        text = f"no free server has the labels {asked}; add one, or release one that has them"
        return Refusal(reason="NO_SERVER_MATCHES", text=text)


def _missing(name: str) -> Refusal:
    return Refusal(
        reason="NOT_FOUND",
        text=f"there is no server {name}; `clonepool server list` shows what there is",
    )


def _check(server: _Server, *, user: SystemUser | None, needs_initiator: bool) -> Refusal | None:
    name = server.spec.name
    if needs_initiator and not server.spec.initiator:
        text = (
            f"server {name} has no initiator, and the pool's fabric needs one; set the server's "
            "initiator to its IQN"
        )
        return Refusal(reason="NO_INITIATOR", text=text)
    if user is None or server.system_user is None or server.system_user == user:
        return None
    held = list_names(server.attachments)
    text = (
        f"server {name} serves {server.system_user} (attachments {held}); it can't serve {user} "
        "at the same time: creates come before deletes, so release those first, then run again"
    )
    return Refusal(reason="SERVER_TAKEN", text=text)


def _initiator_taken(spec: ServerSpec, other: _Server) -> Refusal:
    text = f"initiator {spec.initiator} belongs to server {other.spec.name}; use its own name"
    return Refusal(reason="INITIATOR_TAKEN", text=text)


def _taken(thing: str, name: str) -> Refusal:
    text = f"{thing} {name} exists; take another name, import it, or delete it first"
    return Refusal(reason="NAME_TAKEN", text=text)

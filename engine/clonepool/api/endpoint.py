"""Where the engine listens: the default, the spelling, and what the environment says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from clonepool.errors import InvalidArgument

_SYSTEM_SOCKET: Final = Path("/run/clonepool/engine.sock")
# sun_path holds 108 bytes with its closing zero
_SOCKET_PATH_LIMIT_BYTES: Final = 107
_SPELLING: Final = "write unix:///path/engine.sock or tcp://host:port"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One address of an engine: a Unix socket's path, or a host and port over TLS."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def target(self) -> str:
        """The address as gRPC spells it, for a channel and for a listener."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path is not None else f"tcp://{self.target}"


@dataclass(frozen=True, kw_only=True)
class ClientEnvironment:
    """What ``CLONEPOOL_*`` says about reaching an engine; "" where it says nothing.

    ``hold`` is the ticket that attachments bring.
    """

    endpoint: str = ""
    token: str = field(default="", repr=False)
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    hold: str = ""


def client_environment(environ: Mapping[str, str] = os.environ) -> ClientEnvironment:
    """CLONEPOOL_ENDPOINT, _TOKEN, _CA_FILE, _CLIENT_CERT, _CLIENT_KEY and _HOLD."""
    return ClientEnvironment(
        endpoint=environ.get("CLONEPOOL_ENDPOINT", ""),
        token=environ.get("CLONEPOOL_TOKEN", ""),
        ca_file=environ.get("CLONEPOOL_CA_FILE", ""),
        client_cert_file=environ.get("CLONEPOOL_CLIENT_CERT", ""),
        client_key_file=environ.get("CLONEPOOL_CLIENT_KEY", ""),
        hold=environ.get("CLONEPOOL_HOLD", "").strip(),
    )


def is_root(user_id: int | None = None) -> bool:
    """Whether that user (default: the process's) is root; a system without user ids has none."""
    if user_id is None:
        user_id = getattr(os, "geteuid", lambda: None)()
    return user_id == 0


def default_endpoint(
    *, environ: Mapping[str, str] = os.environ, user_id: int | None = None
) -> Endpoint:
    """The socket that an engine of this user (default: the process's) listens on when told nothing.

    Client and engine work it out alike: root has the machine's socket, others one of their own.
    """
    if is_root(user_id):
        return Endpoint(path=_SYSTEM_SOCKET)
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # after `su` the variable may name a directory that is not there
    if runtime and Path(runtime).is_dir():
        return Endpoint(path=Path(runtime) / "clonepool" / "engine.sock")
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    return Endpoint(path=home / ".local" / "state" / "clonepool" / "engine.sock")


def parse_endpoint(text: str, *, field_name: str = "endpoint") -> Endpoint:
    """``unix:///path`` or ``tcp://host:port``. Raises InvalidArgument naming ``field_name``."""
    parts = urlsplit(text.strip())
    if parts.scheme == "unix":
        return _unix(text=text, path=parts.netloc + parts.path, field_name=field_name)
    if parts.scheme == "tcp":
        return _tcp(text=text, field_name=field_name)
    raise InvalidArgument.field(field_name, f"{text[:80]!r} is not an endpoint; {_SPELLING}")


def parse_endpoints(text: str, *, field_name: str = "endpoint") -> tuple[Endpoint, ...]:
    """Endpoints separated by commas, one or more, each once. Raises as ``parse_endpoint`` does."""
    words = [word.strip() for word in text.split(",")]
    found = [parse_endpoint(word, field_name=field_name) for word in words if word]
    if not found:
        return (parse_endpoint(text, field_name=field_name),)
    return tuple(dict.fromkeys(found))


def _unix(*, text: str, path: str, field_name: str) -> Endpoint:
    if not path.startswith("/"):
        raise InvalidArgument.field(field_name, f"{text!r} needs an absolute path; {_SPELLING}")
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT_BYTES:
        raise InvalidArgument.field(
            field_name,
            f"{text!r} is longer than the {_SOCKET_PATH_LIMIT_BYTES} bytes a Unix socket's path "
            "can have; choose a shorter directory",
        )
    return Endpoint(path=Path(path))


def _tcp(*, text: str, field_name: str) -> Endpoint:
    parts = urlsplit(text.strip())
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None or parts.path not in ("", "/"):
        raise InvalidArgument.field(field_name, f"{text!r} needs a host and a port; {_SPELLING}")
    return Endpoint(host=parts.hostname, port=port)

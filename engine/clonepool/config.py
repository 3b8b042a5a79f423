"""Settings of the engine; ``clonepool.cli.settings`` reads them from files, variables and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DriverSettings:
    """One storage or fabric: its driver (``file``, ``iscsi``, ...) and the driver's options."""

    name: str
    driver: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """Certificate, key and (for client certificates) CA of a TCP listener."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, kw_only=True)
class HoldSettings:
    """How much of a pool may be held at once, by how many tickets, and for how long."""

    max_share_percent: int = 50
    max_duration_s: float = 3600.0
    max_tickets: int = 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything ``clonepool serve`` can be told; the defaults work at once.

    ``listen`` is ``unix:///path`` or ``tcp://host:port`` (TLS and a token or client CA needed).
    ``import_roots`` empty: a local caller may import whatever the engine's user can read; over TCP
    nothing may be imported from paths. ``workers`` is how many clones, scrubs and imports run
    at once; ``scrub_workers`` how many of them may be scrubs (0: all but one, so that clones
    never wait for scrubs alone), ``scrub_rate_bytes_s`` how fast those overwrite and read
    together (0: as fast as they can). ``database`` is a PostgreSQL URL, "" for SQLite in
    ``state_dir``; ``secret_key_file`` the key of the secrets in it where that is not in
    ``state_dir``. Storages and fabrics are compared with the rows every ``compare_every_s``; an
    object without a row is deleted after ``orphan_grace_s``, None never. A node that was not heard
    of for ``node_lease_s`` is silent. ``log_level`` is debug, info, warning or error;
    ``log_format`` plain or json.
    """

    state_dir: Path
    listen: str
    node: str
    storages: Mapping[str, DriverSettings]
    fabrics: Mapping[str, DriverSettings]
    import_roots: tuple[Path, ...] = ()
    tls: TlsSettings | None = None
    token: str = field(default="", repr=False)
    database: str = field(default="", repr=False)
    secret_key_file: Path | None = None
    workers: int = 4
    scrub_workers: int = 0
    scrub_rate_bytes_s: int = 0
    compare_every_s: float = 300.0
    orphan_grace_s: float | None = 3600.0
    node_lease_s: float = 30.0
    log_level: str = "info"
    log_format: str = "plain"
    holds: HoldSettings = field(default_factory=HoldSettings)

    @property
    def most_scrubs(self) -> int:
        """How many scrubs may run at once, at least one."""
        return min(self.scrub_workers or max(1, self.workers - 1), self.workers)

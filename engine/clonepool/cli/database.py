"""`clonepool database`: where the engine's state is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from clonepool.cli import output
from clonepool.cli.settings import load_settings
from clonepool.config import Settings
from clonepool.database_url import shown_url
from clonepool.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clonepool.store.postgres.moving import Moved


def migrate_database(
    *, to: str = "", config: str = "", state_dir: str = "", json: bool = False
) -> None:
    """Move the state from SQLite in the state folder to an empty PostgreSQL database.

    Stop the engine first. Rows are counted and digested on both sides before anything is
    committed; it is all or nothing, and may be repeated. Afterwards no engine starts on the old
    file any more. The key of the secrets stays where it is: every node needs that file.

    Parameters
    ----------
    to
        postgresql://user@host/db, without a password; default: the setting `database`.
    config
        Settings file (TOML) in place of the default one.
    state_dir
        Folder of the state that is moved; default: the setting.
    json
        Print a JSON list of objects with the keys table, rows and digest.

    """
    settings = load_settings(config_file=config, flags={"database": to, "state_dir": state_dir})
    if not settings.database:
        raise InvalidArgument.field("--to", "name the database: postgresql://user@host/db")
    moved = _move(settings)
    if json:
        output.print_json([asdict(each) for each in moved])
        return
    for each in moved:
        print(f"{each.table:<20} {each.rows:>9}  {each.digest[:16]}")
    print(f"the state is in {shown_url(settings.database)}; set `database` to it and start")


def restored_database(*, database: str = "", config: str = "", state_dir: str = "") -> None:
    """Say that the database was put back from a backup, before an engine is started on it.

    What was ready or released at the time of the backup becomes faulty, since a server may have had
    it afterwards: nobody gets it and nothing erases it until you have looked. Objects that the
    backup does not know are kept in quarantine. An engine that finds its database older than what
    its host noted does the same by itself; with several nodes, or after a restore of the whole
    state folder, say it.

    Parameters
    ----------
    database
        postgresql://user@host/db, without a password; default: the setting, else SQLite.
    config
        Settings file (TOML) in place of the default one.
    state_dir
        Folder of the state; default: the setting.

    """
    from clonepool.controllers.restored import set_aside  # noqa: PLC0415 - starts fast without
    from clonepool.host_lock import HostLock  # noqa: PLC0415
    from clonepool.store.state import State  # noqa: PLC0415

    flags = {"database": database, "state_dir": state_dir}
    settings = load_settings(config_file=config, flags=flags)
    if not settings.database and not (settings.state_dir / "clonepool.db").exists():
        raise NotFound(f"there is no state in {settings.state_dir}; see --state-dir")
    lock = HostLock(settings.state_dir / "engine.lock")
    lock.acquire(wait_s=0)
    try:
        state = State(
            folder=settings.state_dir,
            node=settings.node,
            clock=None,
            url=settings.database,
            key_path=settings.secret_key_file,
        )
        try:
            volumes = set_aside(state, why="said to be put back from a backup")
        finally:
            state.close()
    finally:
        lock.release()
    print(f"{volumes} volumes are in doubt and faulty now; start the engine, then look at them:")
    print("  clonepool volume list --state faulty; clonepool orphan list")


def _move(settings: Settings) -> Sequence[Moved]:
    from clonepool.host_lock import HostLock  # noqa: PLC0415 - the command line starts fast

    path = settings.state_dir / "clonepool.db"
    if not path.exists():
        raise NotFound(f"there is no state in {settings.state_dir}; see --state-dir")
    lock = HostLock(settings.state_dir / "engine.lock")
    lock.acquire(wait_s=0)
    try:
        _check_source(settings)
        return _moving(settings)
    finally:
        lock.release()


def _check_source(settings: Settings) -> None:
    """Bring it to this version, and see that the key is the one of its secrets."""
    from clonepool.store.state import State  # noqa: PLC0415 - the command line starts fast

    try:
        State(
            folder=settings.state_dir,
            node=settings.node,
            clock=None,
            key_path=settings.secret_key_file,
        ).close()
    except FailedPrecondition as error:
        # an earlier move was cut off, or came to its end
        if error.reason != "STATE_MOVED":
            raise


def _moving(settings: Settings) -> Sequence[Moved]:
    try:
        from clonepool.store.postgres.moving import move  # noqa: PLC0415 - loads the driver
    except ModuleNotFoundError as missing:
        text = f"PostgreSQL needs {missing.name}; run pip install 'clonepool[engine,postgres]'"
        raise FailedPrecondition(text, reason="EXTRA_MISSING") from None
    return move(settings.state_dir / "clonepool.db", settings.database)

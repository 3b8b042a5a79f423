"""Bringing a database to the newest revision. Loads alembic: only where there is work."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from clonepool.errors import FailedPrecondition

MIGRATIONS = Path(__file__).parent / "migrations"


def configuration() -> Config:
    """Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(connection: Connection, *, path: Path) -> None:
    """Migrate whole or not at all. Raises FailedPrecondition for a newer version's database."""
    config = configuration()
    # the driver begins nothing by itself: cut off, a migration must leave nothing
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        text = (
            f"the database {path} is of another version of Clonepool ({error}); "
            "run the version that wrote it, or a newer one"
        )
        raise FailedPrecondition(text, reason="DATABASE_VERSION") from None
    connection.commit()

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


def upgrade(connection: Connection, *, name: str) -> None:
    """Migrate within the caller's transaction. Raises FailedPrecondition for a newer database."""
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        text = (
            f"the database {name} is of another version of Clonepool ({error}); "
            "run the version that wrote it, or a newer one"
        )
        raise FailedPrecondition(text, reason="DATABASE_VERSION") from None

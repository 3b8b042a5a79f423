"""Alembic's environment: runs on the connection that the database gives it."""

from alembic import context
from sqlmodel import SQLModel

from clonepool.store import tables  # noqa: F401 - registers the tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

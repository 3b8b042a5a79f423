"""The history of the schema, by alembic."""

# the newest revision: a database that has it is opened without loading alembic
HEAD = "0007"

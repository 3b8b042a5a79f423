"""The state: SQLite through SQLModel, one writer thread with group commit, hot path by hand."""

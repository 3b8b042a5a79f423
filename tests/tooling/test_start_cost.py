"""The command line starts fast: it loads the engine only when it is told to serve."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("sqlmodel", "sqlalchemy", "alembic", "clonepool.store", "clonepool.engine", "pulumi")


def test_the_command_line_loads_no_engine_no_database_and_no_pulumi() -> None:
    program = f"import sys, clonepool.cli; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert [] == done.stdout.split()

"""docs/cli.md is what the commands' own help says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    """Else run `python -m clonepool.cli.docs > docs/cli.md`."""
    done = subprocess.run(
        [sys.executable, "-m", "clonepool.cli.docs"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert PAGE.read_text() == done.stdout

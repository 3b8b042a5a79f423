"""What tells this machine's engine from one of the same name: on another machine, or beside it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

MACHINE_ID: Final = Path("/etc/machine-id")
_FILE: Final = "node.id"


def identity(state_dir: Path, *, machine_id: Path = MACHINE_ID) -> str:
    """The machine's id and that of the state folder, made once; the same for as long as both stay.

    Of a folder that was copied with its machine's name, the machine's id is another.
    """
    return f"{_read(machine_id) or 'no-machine-id'}/{_of_folder(state_dir)}"


def _of_folder(state_dir: Path) -> str:
    path = state_dir / _FILE
    found = _read(path)
    if found:
        return found
    made = str(uuid.uuid4())
    aside = path.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    return made


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

"""How faults are planted: as edits of the source.

They are made in a copy of the package. The schema's own guards are taken out of every copy
(``NO_GUARDS``): the tests are to find a fault, not the database.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import clonepool

SOURCES: Final = Path(clonepool.__file__).parent


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Text of a file that is there once, and what comes in its place."""

    file: str
    old: str
    new: str = ""

    def apply(self, package: Path) -> None:
        """Change the copy. Raises AssertionError when the source is no longer as it was."""
        path = package / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} has {text.count(self.old)} of {self.old!r}"
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault with a name; ``alone`` False: another defence holds until that is broken, too.

    ``suite`` says which tests are to find it, where the drivers in memory can't: a real driver's.
    """

    name: str
    edits: Sequence[Edit]
    alone: bool = True
    suite: tuple[str, ...] = ()


def one(name: str, file: str, old: str, new: str = "", *, alone: bool = True) -> Mutant:
    """A fault that is one edit."""
    return Mutant(name=name, edits=(Edit(file=file, old=old, new=new),), alone=alone)


def plant(folder: Path, mutants: Iterable[Mutant]) -> Path:
    """A copy of the package with these faults, to be put first on the import path."""
    package = folder / "clonepool"
    shutil.copytree(SOURCES, package, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in NO_GUARDS:
        edit.apply(package)
    for mutant in mutants:
        for edit in mutant.edits:
            edit.apply(package)
    return folder


_MIGRATION = "store/migrations/versions/0001_first_light.py"
NO_GUARDS: Final = (
    # once all are made: a later revision changes those of an earlier one
    Edit(
        file="store/database.py",
        old="                connection.commit()\n",
        new="                found = \"SELECT name FROM sqlite_master WHERE type = 'trigger'\"\n"
        "                for (name,) in connection.exec_driver_sql(found).all():\n"
        '                    connection.exec_driver_sql(f"DROP TRIGGER {name}")\n'
        "                connection.commit()\n",
    ),
    Edit(
        file=_MIGRATION,
        old="\"(state IN ('attaching', 'allocated', 'detaching')) = (attachment_id IS NOT NULL)\"",
        new='"1"',
    ),
    Edit(file=_MIGRATION, old="\"(state = 'scrubbing') <= (scrub_run_id IS NOT NULL)\"", new='"1"'),
    Edit(
        file=_MIGRATION,
        old='"ux_volume_attachment",\n        "volume",\n        ["attachment_id"],\n'
        "        unique=True,",
        new='"ux_volume_attachment",\n        "volume",\n        ["attachment_id"],\n'
        "        unique=False,",
    ),
)

"""A virtual environment with Clonepool's wheel and its core dependencies, and nothing else.

Made offline and in seconds: the wheel is built from this checkout, the dependencies are linked from
the environment that the tests run in, those alone which the wheel's metadata asks for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[2]
_SITE: Final = Path(sysconfig.get_path("purelib"))
_LIMIT_S: Final = 300


def build_wheel(folder: Path) -> Path:
    """Clonepool's wheel, by hatchling as the lock has it, without isolation and network."""
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=_LIMIT_S)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True, kw_only=True)
class CoreEnvironment:
    """One such environment; ``distributions`` are the normal names of what is in it."""

    folder: Path
    distributions: frozenset[str]

    @property
    def programs(self) -> Path:
        """Where its commands are."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.programs / "python"

    def variables(self, **more: str) -> dict[str, str]:
        """An environment that knows of no other installation and of no engine."""
        path = os.pathsep.join((str(self.programs), "/usr/bin", "/bin"))
        return {"HOME": str(self.folder), "PATH": path, "COLUMNS": "100", **more}

    def run(self, program: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        return subprocess.run(
            [str(self.programs / program), *words],
            env=self.variables(**more),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )


def make_core_environment(folder: Path, *, wheel: Path) -> CoreEnvironment:
    """Make it in ``folder``."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--quiet", str(wheel)],
        check=True,
        capture_output=True,
        timeout=_LIMIT_S,
    )
    own = PathDistribution(next(site.glob("clonepool-*.dist-info")))
    needed = {_normal(each.name): each for each in _closure(own, extra="")}
    for each in needed.values():
        _link(each, into=site)
    return CoreEnvironment(folder=folder, distributions=frozenset(needed))


def _closure(wanting: Distribution, *, extra: str) -> Iterator[Distribution]:
    """What a distribution needs, and what that needs, on this machine."""
    seen: set[str] = set()
    waiting = [(wanting, extra)]
    while waiting:
        current, extra = waiting.pop()
        for text in current.requires or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            found = distribution(requirement.name)
            for more in ("", *sorted(requirement.extras)):
                key = f"{_normal(found.name)}[{more}]"
                if key not in seen:
                    seen.add(key)
                    waiting.append((found, more))
            yield found


def _link(found: Distribution, *, into: Path) -> None:
    """Make each of its files appear in ``into``; several may share a package such as `google`."""
    for file in found.files or ():
        source = _SITE / file
        if ".." in file.parts or file.suffix == ".pyc" or not source.exists():
            continue
        target = into / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(source)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

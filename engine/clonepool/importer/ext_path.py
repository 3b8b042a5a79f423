"""Paths inside an image, with the image's own symbolic links: debugfs follows them only half."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from clonepool.errors import FailedPrecondition
from clonepool.importer.debugfs import ExtImage

# as Linux: a loop of links must end
_MAX_LINKS: Final = 40


def resolve_folder(inside: ExtImage, folder: str) -> tuple[str, list[str]]:
    """Where ``folder`` really is: its part that exists, links resolved, and the missing names.

    debugfs's write and mkdir take a link for the folder itself, so they get real paths only.
    Raises FailedPrecondition where something else than a folder is in the way.
    """
    current, names = PurePosixPath("/"), _names(folder)
    links = 0
    while names:
        name = names.pop(0)
        if name == "..":
            current = current.parent
            continue
        found = inside.find(str(current / name))
        if found is None:
            return str(current), _missing(current, [name, *names])
        if found.kind == "symlink":
            links += 1
            names = _names(found.link_target) + names
            current = PurePosixPath("/") if found.link_target.startswith("/") else current
        elif found.kind == "directory":
            current = current / name
        if found.kind not in ("directory", "symlink") or links > _MAX_LINKS:
            what = "a loop of symbolic links" if links > _MAX_LINKS else "no directory"
            raise in_the_way(str(current / name), what)
    return str(current), []


def in_the_way(path: str, what: str) -> FailedPrecondition:
    """What to say where a file can't be written because of what is there."""
    return FailedPrecondition(
        f"{path} in the image is {what}, so the file can't be written; choose another path",
        reason="PATH_IN_THE_WAY",
    )


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _missing(current: PurePosixPath, names: list[str]) -> list[str]:
    if ".." in names:  # only a dangling link says so
        raise in_the_way(str(current / names[0]), "missing, and a symbolic link leads through it")
    return names

"""Doctor's check of the kernel's own iSCSI target, where a fabric of the settings needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from clonepool.cli.checks import Check, broken, good
from clonepool.config import Settings
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.lio_kernel import MODULES, find_missing_modules, target_tree

LIO: Final = "lio"


def check_lio(
    settings: Settings,
    *,
    tree: ConfigTree | None = None,
    user: int | None = None,
    missing: Sequence[str] | None = None,
) -> Iterator[Check]:
    """Rights and kernel, for each fabric with the driver lio.

    ``tree``, ``user`` and ``missing`` (modules) are looked up where they are not given.
    """
    for fabric in settings.fabrics.values():
        if fabric.driver == LIO:
            yield _check(
                f"LIO for fabric {fabric.name}",
                tree=tree or target_tree(),
                user=os.geteuid() if user is None else user,
                missing=missing,
            )


def _check(name: str, *, tree: ConfigTree, user: int, missing: Sequence[str] | None) -> Check:
    if user != 0:
        return broken(
            name,
            f"the kernel's target is root's, and this is user {user}",
            "run the engine as root, or use a fabric with driver iscsi",
        )
    if tree.exists("iscsi"):
        return good(name, tree.read("version"))
    lacking = find_missing_modules() if missing is None else missing
    if lacking:
        return broken(
            name,
            f"this kernel has no module {', '.join(lacking)}",
            f"install a kernel with {', '.join(MODULES)}, or use a fabric with driver iscsi",
        )
    return good(name, "the engine loads LIO")

"""The kernel's own iSCSI target (LIO): whether it is there, and which part of it is ours.

Its configuration is one tree for the whole kernel, in memory, and anybody with root may change or
clear it (``targetctl clear``). A marker in it, a target without a portal group that no server can
see, tells both: whose the prefix is, and that nothing was lost since it was made.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from clonepool import commands
from clonepool.errors import CommandError, FailedPrecondition
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.processes import boot_id

CONFIGFS: Final = Path("/sys/kernel/config")
MODULES: Final = ("target_core_mod", "target_core_file", "target_core_iblock", "iscsi_target_mod")
# the dot keeps it from ever being a target's name
_MARK: Final = "owner."
_ID_FILE: Final = "engine-id"
_TIMEOUT_S: Final = 30.0


def target_tree(*, configfs: Path = CONFIGFS) -> ConfigTree:
    """LIO's part of configfs."""
    return ConfigTree(configfs / "target")


class LioKernel:
    """Loads LIO where it is not loaded, and keeps our marker in it. Thread-safe.

    ``folder`` (made 0700) holds the engine's id in a file: whoever has another one, on another
    state folder, is another engine. Its targets would be strays to us, so it needs another prefix.
    """

    def __init__(self, *, tree: ConfigTree, prefix: str, folder: Path) -> None:
        self._tree = tree
        self._prefix = prefix
        self._folder = folder
        self._guard = threading.Lock()
        self._owner = ""

    def incarnation(self) -> str:
        """This boot, and which making of our marker; one system call where it is there.

        Raises FailedPrecondition without LIO, or when the prefix is another engine's.
        """
        try:
            facts = self._tree.stat(self._marker)
        except FileNotFoundError:
            facts = self._begin()
        # an inode number of configfs comes again in a boot after 2**32 others at the earliest
        return f"{boot_id()}/{facts.st_ino}-{facts.st_ctime_ns}"

    def end(self) -> None:
        """Remove the marker: nothing of ours is left."""
        self._tree.remove(self._marker)

    @property
    def is_begun(self) -> bool:
        """Whether our marker is there; loads and makes nothing."""
        return _find_id(self._folder) is not None and self._tree.exists(self._marker)

    @property
    def _marker(self) -> str:
        return f"iscsi/{self._prefix}:{_MARK}{self._engine_id()}"

    def _begin(self) -> os.stat_result:
        with self._guard:
            if not self._tree.exists("iscsi"):
                load_lio(self._tree)
            self._refuse_foreign()
            self._tree.make(self._marker)
            return self._tree.stat(self._marker)

    def _refuse_foreign(self) -> None:
        head = f"{self._prefix}:{_MARK}"
        for name in self._tree.folders("iscsi", prefix=head):
            if name != self._marker.rpartition("/")[2]:
                raise FailedPrecondition(
                    f"the LIO targets under {self._prefix} belong to another engine on this host; "
                    "give each an iqn_prefix of its own. If that engine is gone for good, remove "
                    f"its targets and its mark: rmdir {self._tree.root}/iscsi/{name}",
                    reason="IQN_PREFIX_TAKEN",
                )

    def _engine_id(self) -> str:
        if not self._owner:
            self._owner = _kept_id(self._folder)
        return self._owner


def load_lio(tree: ConfigTree) -> None:
    """Load the modules, mount configfs and make iSCSI's part of it, as far as they are not there.

    Raises FailedPrecondition with the way out.
    """
    if os.geteuid() != 0:
        raise FailedPrecondition("the fabric lio needs root; run the engine as root, or use iscsi")
    try:
        commands.run(["modprobe", "--all", *MODULES], timeout_s=_TIMEOUT_S)
        if not tree.exists("core"):
            mount = ["mount", "-t", "configfs", "configfs", str(tree.root.parent)]
            commands.run(mount, timeout_s=_TIMEOUT_S)
        tree.make("iscsi")
    except (CommandError, OSError) as error:
        raise FailedPrecondition(
            f"this kernel's LIO can't be used: {error}; it needs the modules {', '.join(MODULES)} "
            f"and configfs at {tree.root.parent}"
        ) from None


def find_missing_modules() -> tuple[str, ...]:
    """The modules that are neither in this kernel nor to be loaded; loads nothing."""
    return tuple(name for name in MODULES if not _is_offered(name))


def _is_offered(module: str) -> bool:
    if Path("/sys/module", module).exists():
        return True
    try:
        commands.run(["modprobe", "--dry-run", "--quiet", module], timeout_s=_TIMEOUT_S)
    except CommandError:
        return False
    return True


def _find_id(folder: Path) -> str | None:
    with suppress(FileNotFoundError):
        return (folder / _ID_FILE).read_text().strip()
    return None


def _kept_id(folder: Path) -> str:
    """The id in the folder's file, made at the first time."""
    found = _find_id(folder)
    if found is not None:
        return found
    path = folder / _ID_FILE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = folder / f"engine-id.{os.getpid()}-{threading.get_ident()}"
    aside.write_text(secrets.token_hex(6))
    with suppress(FileExistsError):
        os.link(aside, path)
    aside.unlink()
    return path.read_text().strip()

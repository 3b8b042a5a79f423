"""What lies behind LIO's LUNs: a file or a block device, opened by the kernel.

Each target has backstores of its own, so that one server's reservation or reset of the shared
copy is never felt by another. Only a block device can't have two, since the kernel claims it: the
shared copy on one has one backstore, which goes with its last LUN.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.errors import FailedPrecondition
from clonepool.fabrics.base import ExportSpec, Lun
from clonepool.fabrics.configfs import ConfigTree
from clonepool.fabrics.iscsi_names import LUN_NUMBERS, check_serial
from clonepool.fabrics.locks import NamedLocks

_VENDOR: Final = "CLNPOOL"
_PRODUCTS: Final = {True: "READ-ONLY COPY", False: "REPLICA"}
# NAA type 6 under LIO's own company id, then 25 digits that it takes out of the serial
_NAA_HEAD: Final = "6001405"
_NAA_DIGITS: Final = 25
_NAME_DIGITS: Final = 16
_MOST_LABEL_CHARS: Final = 500
_IN_USE: Final = frozenset({errno.EBUSY, errno.ENOTEMPTY})


@dataclass(frozen=True, kw_only=True)
class Backing:
    """One volume as LIO shall have it. The only place here that looks at where a LUN's bytes are.

    ``digest`` stands for all of it: a backstore whose name ends with it is this volume's.
    """

    path: Path
    size_bytes: int
    read_only: bool
    serial: str

    @classmethod
    def of(cls, lun: Lun) -> Backing:
        """A LUN's. Raises InvalidArgument, and what the LUN's location raises."""
        return cls(
            path=lun.path,
            size_bytes=lun.size_bytes,
            read_only=lun.read_only,
            serial=check_serial(lun.serial),
        )

    @property
    def digest(self) -> str:
        """See the class."""
        words = (str(self.path), str(self.size_bytes), str(self.read_only), self.serial)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:_NAME_DIGITS]


def wanted_backings(spec: ExportSpec) -> Mapping[int, Backing]:
    """The volumes of an export by LUN number. Raises InvalidArgument."""
    return {LUN_NUMBERS[lun.role]: Backing.of(lun) for lun in spec.luns}


def unit_serial(serial: str) -> str:
    """The SCSI serial that servers see: LIO makes the volume's name of its first 25 digits.

    The engine's serials differ in their ends, so a hash of the whole goes before them.
    """
    return f"{_digits(serial)}-{serial}"


def naa_name(serial: str) -> str:
    """The world-wide name that servers see."""
    return _NAA_HEAD + _digits(serial)


def _digits(serial: str) -> str:
    return hashlib.sha256(serial.encode()).hexdigest()[:_NAA_DIGITS]


def digest_of(name: str) -> str:
    """The digest at the end of a backstore's name."""
    return name.rpartition(".")[2]


class Backstores:
    """Makes and removes them, in host bus adapters of our own: nothing else is in those.

    Thread-safe: the maker of a LUN and the remover of the last other one wait for each other.
    """

    def __init__(self, *, tree: ConfigTree, prefix: str) -> None:
        self._tree = tree
        self._locks = NamedLocks()
        # far above what targetcli counts up from 0
        number = 2**28 + int(hashlib.sha256(prefix.encode()).hexdigest()[:7], 16)
        self._file_adapter = f"core/fileio_{number}"
        self._block_adapter = f"core/iblock_{number}"

    def connect(self, target: str, backing: Backing, *, at: str) -> None:
        """Link a LUN at ``at`` to the volume's backstore, made where it is not there.

        Raises FailedPrecondition for a path that can't be opened.
        """
        with _opened(backing) as descriptor:
            is_block = stat.S_ISBLK(os.fstat(descriptor).st_mode)
            adapter = self._block_adapter if is_block else self._file_adapter
            owner = backing.serial if is_block and backing.read_only else target
            place = f"{adapter}/{owner}.{backing.digest}"
            with self._locks.hold(place):
                self._ensure(place, backing, descriptor)
                self._tree.link(at, to=place)

    def disconnect(self, *, at: str, name: str) -> None:
        """Take the link to the backstore ``name`` away, and the backstore with its last one."""
        self._tree.unlink(at)
        for adapter in (self._file_adapter, self._block_adapter):
            self._remove_unused(f"{adapter}/{name}")

    def sweep(self) -> None:
        """Remove what no LUN has: a crash between making and linking leaves one."""
        for adapter in (self._file_adapter, self._block_adapter):
            for name in self._tree.folders(adapter):
                self._remove_unused(f"{adapter}/{name}")

    def end(self) -> None:
        """Remove our adapters; all backstores are gone."""
        for adapter in (self._file_adapter, self._block_adapter):
            self._tree.remove(adapter)

    def _remove_unused(self, place: str) -> None:
        with self._locks.hold(place):
            try:
                self._tree.remove(place)
            except OSError as error:
                if error.errno not in _IN_USE:
                    raise

    def _ensure(self, place: str, backing: Backing, descriptor: int) -> None:
        if self._tree.exists(place):
            if self._tree.read(f"{place}/enable") == "1":
                return
            self._tree.remove(place)  # a crash left it half made
        self._tree.make(place.rpartition("/")[0])
        self._tree.make(place)
        try:
            self._set_up(place, backing, descriptor)
        except OSError as error:
            with suppress(OSError):
                self._tree.remove(place)
            raise FailedPrecondition(
                f"LIO can't open {backing.path}: {error.strerror}; the kernel's log says more"
            ) from None

    def _set_up(self, place: str, backing: Backing, descriptor: int) -> None:
        # by our own descriptor: the kernel would make a file that has just gone, takes no name of
        # more than 255 bytes, and a comma in one would begin another parameter
        path = f"/proc/self/fd/{descriptor}"
        if place.startswith(self._block_adapter):
            control = f"udev_path={path},readonly={int(backing.read_only)}"
        else:
            # the write cache is told to servers, so what they flush is durable
            control = f"fd_dev_name={path},fd_dev_size={backing.size_bytes},fd_buffered_io=1"
        write = self._tree.write
        write(f"{place}/control", control)
        write(f"{place}/udev_path", str(backing.path)[:_MOST_LABEL_CHARS])
        write(f"{place}/wwn/vendor_id", _VENDOR)
        write(f"{place}/wwn/product_id", _PRODUCTS[backing.read_only])
        write(f"{place}/wwn/vpd_unit_serial", unit_serial(backing.serial))
        # a copy command names its source by its world-wide name: no server shall name another's
        write(f"{place}/attrib/emulate_3pc", "0")
        if backing.read_only:
            # a reservation needs no right to write, and would shut all others out
            write(f"{place}/attrib/emulate_pr", "0")
        write(f"{place}/enable", "1")


@contextmanager
def _opened(backing: Backing) -> Iterator[int]:
    """A descriptor of the file or device. Raises FailedPrecondition."""
    flags = os.O_RDONLY if backing.read_only else os.O_RDWR
    try:
        descriptor = os.open(backing.path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FailedPrecondition(f"{backing.path} is not there; it can't be exported") from None
    except OSError as error:
        how = "read" if backing.read_only else "written"
        raise FailedPrecondition(
            f"{backing.path} can't be {how}: {error.strerror}; it can't be exported"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)

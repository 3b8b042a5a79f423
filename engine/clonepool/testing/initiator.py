"""A real iSCSI initiator for tests and the demo: libiscsi by ctypes.

A session stays open between commands, never reconnects by itself, and tells a refusal by its
sense code. Commands are sent as CDBs of our own through libiscsi's generic call, which is the
same in all its versions; only the head of its task structure is read.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from collections.abc import Iterator
from functools import cache
from glob import glob
from types import TracebackType
from typing import Final

from clonepool.domain.model import ChapAccount
from clonepool.errors import FailedPrecondition

_NORMAL_SESSION: Final = 2
_NO_HEADER_DIGEST: Final = 1
_XFER_NONE, _XFER_READ, _XFER_WRITE = 0, 1, 2
_GOOD: Final = 0
_CHECK_CONDITION: Final = 2
_UNIT_ATTENTION: Final = 6
_DATA_PROTECT: Final = 7
_UNIT_ATTENTIONS_TO_SKIP: Final = 8
_SERIAL_PAGE, _DEVICE_ID_PAGE = 0x80, 0x83
_NAA_DESIGNATOR: Final = 3
_NAA_6: Final = 6
# below tgt's default MaxBurstLength, so that one command is one burst
_CHUNK_BYTES: Final = 256 * 1024


class InitiatorError(Exception):
    """An iSCSI operation failed; the message is libiscsi's."""


class LoginRefused(InitiatorError):
    """The target let us not in: not permitted, wrong or no CHAP, or not there."""


class SessionLost(InitiatorError):
    """The connection is gone, or the target gave no answer in time."""


class ScsiError(InitiatorError):
    """The logical unit refused a command."""

    def __init__(self, message: str, *, status: int, key: int, ascq: int) -> None:
        self.status = status
        self.key = key
        self.ascq = ascq
        super().__init__(f"{message} (status {status:#x}, sense {key:#x}/{ascq:#06x})")


class WriteProtected(ScsiError):
    """A write to a read-only LUN: sense DATA PROTECT."""


class _Sense(ctypes.Structure):
    _fields_ = (("error_type", ctypes.c_ubyte), ("key", ctypes.c_int), ("ascq", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.c_char_p))


class _TaskHead(ctypes.Structure):
    _fields_ = (
        ("status", ctypes.c_int),
        ("cdb_size", ctypes.c_int),
        ("xfer_dir", ctypes.c_int),
        ("expxferlen", ctypes.c_int),
        ("cdb", ctypes.c_ubyte * 16),
        ("residual_status", ctypes.c_int),
        ("residual", ctypes.c_size_t),
        ("sense", _Sense),
    )


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("iscsi")
    found = [name] if name else sorted(glob("/usr/lib/*/libiscsi.so.*"))
    if not found:
        raise FailedPrecondition(
            "libiscsi is missing; install the Debian package libiscsi7 (apt install libiscsi-bin)"
        )
    library = ctypes.CDLL(found[0])
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for function, result, arguments in (
        ("iscsi_create_context", pointer, (text,)),
        ("iscsi_destroy_context", number, (pointer,)),
        ("iscsi_get_error", text, (pointer,)),
        ("iscsi_set_alias", number, (pointer, text)),
        ("iscsi_set_targetname", number, (pointer, text)),
        ("iscsi_set_session_type", number, (pointer, number)),
        ("iscsi_set_header_digest", number, (pointer, number)),
        ("iscsi_set_noautoreconnect", None, (pointer, number)),
        ("iscsi_set_timeout", number, (pointer, number)),
        ("iscsi_set_initiator_username_pwd", number, (pointer, text, text)),
        ("iscsi_connect_sync", number, (pointer, text)),
        ("iscsi_login_sync", number, (pointer,)),
        ("iscsi_logout_sync", number, (pointer,)),
        ("iscsi_disconnect", number, (pointer,)),
        ("iscsi_scsi_command_sync", pointer, (pointer, number, pointer, ctypes.POINTER(_Data))),
        ("scsi_create_task", pointer, (number, text, number, number)),
        ("scsi_task_add_data_in_buffer", number, (pointer, number, pointer)),
        ("scsi_free_scsi_task", None, (pointer,)),
    ):
        bound = getattr(library, function)
        bound.restype, bound.argtypes = result, arguments
    return library


def initiator_available() -> bool:
    """Whether libiscsi is installed."""
    try:
        _library()
    except (FailedPrecondition, OSError):
        return False
    return True


class Session:
    """One logged-in iSCSI session; a context manager. One thread at a time.

    Raises LoginRefused when the target doesn't let us in, SessionLost when nothing answers.
    ``timeout_s`` (whole seconds) bounds each command. ``alias`` is the free text that an
    initiator may send about itself.
    """

    def __init__(
        self,
        *,
        portal: str,
        target: str,
        initiator: str,
        chap: ChapAccount | None = None,
        timeout_s: int = 5,
        alias: str = "",
    ) -> None:
        self._lib = _library()
        self._context: int | None = self._lib.iscsi_create_context(initiator.encode())
        self._prepare(target=target, chap=chap, timeout_s=timeout_s, alias=alias)
        if self._lib.iscsi_connect_sync(self._context, portal.encode()):
            raise self._failed(SessionLost, f"no answer from {portal}")
        if self._lib.iscsi_login_sync(self._context):
            raise self._failed(LoginRefused, f"{target} refused {initiator}")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, *, lun: int, lba: int, blocks: int, block_bytes: int = 512) -> bytes:
        """Read ``blocks`` from ``lba`` (READ 16)."""
        cdb = struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)
        return self._command(lun=lun, cdb=cdb, expected_bytes=blocks * block_bytes)

    def write(self, *, lun: int, lba: int, data: bytes, block_bytes: int = 512) -> None:
        """Write whole blocks from ``lba`` on (WRITE 16). Raises WriteProtected."""
        if not data or len(data) % block_bytes:
            raise ValueError(f"{len(data)} bytes are not whole blocks of {block_bytes}")
        cdb = struct.pack(">BBQIBB", 0x8A, 0, lba, len(data) // block_bytes, 0, 0)
        self._command(lun=lun, cdb=cdb, data=data)

    def flush(self, *, lun: int) -> None:
        """Have the target make what was written durable (SYNCHRONIZE CACHE 16)."""
        self._command(lun=lun, cdb=struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0))

    def capacity(self, *, lun: int) -> tuple[int, int]:
        """The number of blocks and the bytes of one (READ CAPACITY 16)."""
        cdb = struct.pack(">BBQIBB", 0x9E, 0x10, 0, 32, 0, 0)
        last, block_bytes = struct.unpack_from(
            ">QI", self._command(lun=lun, cdb=cdb, expected_bytes=32)
        )
        return last + 1, block_bytes

    def size_bytes(self, *, lun: int) -> int:
        """The LUN's size."""
        blocks, block_bytes = self.capacity(lun=lun)
        return blocks * block_bytes

    def serial(self, *, lun: int) -> str:
        """The unit serial number (VPD page 0x80)."""
        # LIO ends it with a zero byte, tgt fills it up with blanks
        return self._inquire(lun=lun, page=_SERIAL_PAGE).decode(errors="replace").strip("\0 ")

    def wwn(self, *, lun: int) -> str:
        """The NAA type 6 name, hexadecimal (VPD page 0x83); "" without one."""
        page = self._inquire(lun=lun, page=_DEVICE_ID_PAGE)
        while len(page) >= 4:
            kind, length = page[1] & 0xF, page[3]
            name, page = page[4 : 4 + length], page[4 + length :]
            if kind == _NAA_DESIGNATOR and name and name[0] >> 4 == _NAA_6:
                return name.hex()
        return ""

    def report_luns(self) -> tuple[int, ...]:
        """The numbers of the target's LUNs (REPORT LUNS)."""
        cdb = struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, 4096, 0, 0)
        answer = self._command(lun=0, cdb=cdb, expected_bytes=4096)
        (length,) = struct.unpack_from(">I", answer)
        entries = struct.iter_unpack(">H6x", answer[8 : 8 + length])
        return tuple(sorted(entry & 0x3FFF for (entry,) in entries))

    def is_alive(self) -> bool:
        """Whether the target still answers in this session (TEST UNIT READY)."""
        if self._context is None:
            return False
        try:
            self._command(lun=0, cdb=bytes(6))
        except SessionLost:
            return False
        except ScsiError:
            return True
        return True

    def chunks(self, *, lun: int) -> Iterator[tuple[int, bytes]]:
        """The whole LUN: byte offset and bytes, some 256 KiB at a time."""
        blocks, block_bytes = self.capacity(lun=lun)
        step = max(1, _CHUNK_BYTES // block_bytes)
        for lba in range(0, blocks, step):
            count = min(step, blocks - lba)
            data = self.read(lun=lun, lba=lba, blocks=count, block_bytes=block_bytes)
            yield lba * block_bytes, data

    def dump(self, *, lun: int) -> bytes:
        """All bytes of the LUN; for small ones."""
        return b"".join(data for _, data in self.chunks(lun=lun))

    def find(self, marker: bytes, *, lun: int) -> int | None:
        """The byte offset of the first ``marker`` anywhere on the LUN, or None."""
        before = b""
        for offset, data in self.chunks(lun=lun):
            place = (before + data).find(marker)
            if place >= 0:
                return offset - len(before) + place
            before = data[-(len(marker) - 1) :] if len(marker) > 1 else b""
        return None

    def close(self) -> None:
        """Log out, as far as the target still listens; may be repeated."""
        if self._context is not None:
            self._lib.iscsi_logout_sync(self._context)
        self.drop()

    def drop(self) -> None:
        """Let the connection go without a logout, as a server that lost its power does."""
        if self._context is not None:
            self._lib.iscsi_destroy_context(self._context)
            self._context = None

    def _abandon(self) -> None:
        """Close the connection but keep libiscsi's memory: it may still point into this command.

        Destroying the context would have it report the command's end to a call that is over.
        """
        self._lib.iscsi_disconnect(self._context)
        self._context = None

    def _prepare(
        self, *, target: str, chap: ChapAccount | None, timeout_s: int, alias: str
    ) -> None:
        lib, context = self._lib, self._context
        lib.iscsi_set_targetname(context, target.encode())
        lib.iscsi_set_session_type(context, _NORMAL_SESSION)
        lib.iscsi_set_header_digest(context, _NO_HEADER_DIGEST)
        lib.iscsi_set_timeout(context, timeout_s)
        # libiscsi would try a revoked target again for ever
        lib.iscsi_set_noautoreconnect(context, 1)
        if alias:
            lib.iscsi_set_alias(context, alias.encode())
        if chap is not None:
            lib.iscsi_set_initiator_username_pwd(
                context, chap.username.encode(), chap.secret.encode()
            )

    def _failed(self, kind: type[InitiatorError], what: str) -> InitiatorError:
        message = self._message()
        self.drop()
        return kind(f"{what}: {message}")

    def _message(self) -> str:
        text = self._lib.iscsi_get_error(self._context)
        return text.decode(errors="replace") if text else "no message"

    def _inquire(self, *, lun: int, page: int) -> bytes:
        cdb = struct.pack(">BBBHB", 0x12, 1, page, 255, 0)
        answer = self._command(lun=lun, cdb=cdb, expected_bytes=255)
        (length,) = struct.unpack_from(">H", answer, 2)
        return answer[4 : 4 + length]

    def _command(
        self, *, lun: int, cdb: bytes, expected_bytes: int = 0, data: bytes = b""
    ) -> bytes:
        """Run one command; a unit attention only tells news, so the command is sent again."""
        for _ in range(_UNIT_ATTENTIONS_TO_SKIP):
            try:
                return self._command_once(
                    lun=lun, cdb=cdb, expected_bytes=expected_bytes, data=data
                )
            except ScsiError as error:
                if error.key != _UNIT_ATTENTION:
                    raise
        raise SessionLost(f"LUN {lun} answers with nothing but unit attentions")

    def _command_once(self, *, lun: int, cdb: bytes, expected_bytes: int, data: bytes) -> bytes:
        if self._context is None:
            raise SessionLost("the session is closed")
        direction = _XFER_WRITE if data else _XFER_READ if expected_bytes else _XFER_NONE
        length = len(data) or expected_bytes
        task = self._lib.scsi_create_task(len(cdb), cdb, direction, length)
        buffer = ctypes.create_string_buffer(max(1, expected_bytes))
        if expected_bytes:
            self._lib.scsi_task_add_data_in_buffer(task, expected_bytes, ctypes.addressof(buffer))
        outgoing = _Data(size=len(data), data=data)
        if not self._lib.iscsi_scsi_command_sync(
            self._context, lun, task, ctypes.byref(outgoing) if data else None
        ):
            message = self._message()
            self._abandon()
            raise SessionLost(message)
        try:
            self._check(_TaskHead.from_address(task), lun=lun)
        finally:
            self._lib.scsi_free_scsi_task(task)
        return buffer.raw[:expected_bytes]

    def _check(self, task: _TaskHead, *, lun: int) -> None:
        if task.status == _GOOD:
            return
        key, ascq = int(task.sense.key), int(task.sense.ascq)
        message = f"LUN {lun}: {self._message()}"
        if task.status != _CHECK_CONDITION:
            # cancelled or timed out: libiscsi would wait for a connection that never returns
            self.drop()
            raise SessionLost(f"{message} (status {task.status:#x})")
        kind = WriteProtected if key == _DATA_PROTECT else ScsiError
        raise kind(message, status=int(task.status), key=key, ascq=ascq)

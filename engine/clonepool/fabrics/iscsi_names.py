"""Names, numbers and secrets that iSCSI and tgtd can carry, checked before anything is sent.

tgtd splits parameters on commas and prints names into its listings line by line, so a comma or
a line break in a name would be an instruction, not a name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from clonepool.domain.model import ChapAccount
from clonepool.domain.states import PortionRole
from clonepool.errors import InvalidArgument
from clonepool.fabrics.base import Lun

DEFAULT_IQN_PREFIX: Final = "iqn.2026-01.io.clonepool"
# fixed, so that a server finds its volumes without looking at more than the number
LUN_NUMBERS: Final = {PortionRole.READ_ONLY: 1, PortionRole.WRITABLE: 2}
# RFC 3720, 3.2.6.1: an iSCSI name has at most 223 bytes
MAX_ISCSI_NAME_CHARS: Final = 223
# tgtd keeps 36 bytes of a serial number and would cut the generation off a longer one
MAX_SERIAL_CHARS: Final = 36

_IQN: Final = re.compile(r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]+([.-][a-z0-9]+)*(:[a-z0-9.:-]+)?")
_EUI_OR_NAA: Final = re.compile(r"eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}|[0-9a-f]{32})")
_TARGET: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_CHAP_WORD: Final = re.compile(r"[!-+\--~]+")  # printable ASCII but blank and comma
_SERIAL: Final = re.compile(r"[A-Za-z0-9._:-]+")
_NAA_6: Final = re.compile(r"6[0-9a-f]{31}")
# RFC 3720, 8.2.1: shorter secrets fall to a dictionary; tgtd reads 255 bytes of a longer one
_LEAST_SECRET_CHARS: Final = 12
_MOST_CHAP_CHARS: Final = 255
_MOST_PATH_BYTES: Final = 1000


def check_iqn_prefix(prefix: str, *, field: str) -> str:
    """The prefix of our target names: ``iqn.YYYY-MM.reversed.domain[:word]``, lower case."""
    if not _IQN.fullmatch(prefix) or len(prefix) > MAX_ISCSI_NAME_CHARS // 2:
        raise InvalidArgument.field(
            field, f"{prefix!r} is not an iSCSI name such as iqn.2026-01.io.clonepool (lower case)"
        )
    return prefix


def check_target(target: str) -> str:
    """The engine's own name of a target: also safe as a file name."""
    if not _TARGET.fullmatch(target):
        raise InvalidArgument.field(
            "target", f"{target!r} must be made of a-z, 0-9 and inner hyphens"
        )
    return target


def target_iqn(*, prefix: str, target: str) -> str:
    """The name on the wire of the engine's ``target``."""
    iqn = f"{prefix}:{check_target(target)}"
    if len(iqn) > MAX_ISCSI_NAME_CHARS:
        raise InvalidArgument.field("target", f"{iqn!r} exceeds {MAX_ISCSI_NAME_CHARS} characters")
    return iqn


def find_target(*, prefix: str, iqn: str) -> str | None:
    """The engine's target behind an IQN, or None when it isn't one of ours."""
    head, _, target = iqn.rpartition(":")
    return target if head == prefix and _TARGET.fullmatch(target) else None


def check_initiator(name: str) -> str:
    """An initiator's name, lower case: an IQN, EUI or NAA."""
    known = _IQN.fullmatch(name) or _EUI_OR_NAA.fullmatch(name)
    if not known or len(name) > MAX_ISCSI_NAME_CHARS:
        raise InvalidArgument.field(
            "initiator",
            f"{name[:80]!r} is not an iSCSI initiator name in lower case, such as "
            "iqn.1993-08.org.debian:01:abc; the server's is in /etc/iscsi/initiatorname.iscsi",
        )
    return name


def check_chap(account: ChapAccount) -> ChapAccount:
    """A CHAP account that tgtd can carry. The secret is never part of a message."""
    if not _CHAP_WORD.fullmatch(account.username) or len(account.username) > _MOST_CHAP_CHARS:
        raise InvalidArgument.field(
            "chap.username",
            f"must be 1 to {_MOST_CHAP_CHARS} printable ASCII characters, no blank, no comma",
        )
    if not _CHAP_WORD.fullmatch(account.secret) or not (
        _LEAST_SECRET_CHARS <= len(account.secret) <= _MOST_CHAP_CHARS
    ):
        raise InvalidArgument.field(
            "chap.secret",
            f"must be {_LEAST_SECRET_CHARS} to {_MOST_CHAP_CHARS} printable ASCII characters, "
            "no blank, no comma",
        )
    return account


def check_path(path: Path) -> str:
    """A backing path that tgtd's parameters can carry."""
    text = str(path)
    if not path.is_absolute() or "," in text or not text.isprintable():
        raise InvalidArgument.field(
            "path", f"{text!r} must be absolute, without commas and control characters"
        )
    if len(text.encode()) > _MOST_PATH_BYTES:
        raise InvalidArgument.field("path", f"{text[:80]!r}... exceeds {_MOST_PATH_BYTES} bytes")
    return text


def check_serial(serial: str) -> str:
    """A SCSI unit serial number (VPD page 0x80)."""
    if not _SERIAL.fullmatch(serial) or len(serial) > MAX_SERIAL_CHARS:
        raise InvalidArgument.field(
            "serial", f"{serial[:80]!r} must be 1 to {MAX_SERIAL_CHARS} of A-Z a-z 0-9 . _ : -"
        )
    return serial


def wwn_of(lun: Lun) -> str:
    """The volume's world-wide name as servers see it: NAA type 6, 32 hexadecimal digits.

    tgtd lets no other kind be set (its type 3 is made of the target id), so a name of another kind
    is replaced by one made of the serial, which is as unique.
    """
    if _NAA_6.fullmatch(lun.wwn):
        return lun.wwn
    return "6" + hashlib.sha256(lun.serial.encode()).hexdigest()[:31]

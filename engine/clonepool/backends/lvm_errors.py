"""What LVM's commands say when they fail, as Clonepool's kinds of error."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from clonepool.backends.device_mapper import CONTROL
from clonepool.backends.lvm_settings import LvmSettings
from clonepool.errors import (
    STORAGE_FULL,
    ClonepoolError,
    CommandError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

_NOT_FOUND: Final = 127
# what LVM says besides its errors
_ASIDE: Final = re.compile(r"\s*(WARNING: |File descriptor \d+ |Configuration setting |\s*$)")


@contextmanager
def lvm_errors(*, doing: str, settings: LvmSettings) -> Iterator[None]:
    """Turn a CommandError or OSError raised inside into a kind that names ``doing``."""
    try:
        yield
    except CommandError as error:
        raise to_kind(error, doing=doing, settings=settings) from error
    except OSError as error:
        raise _of_system(error, doing=doing, settings=settings) from error


def to_kind(error: CommandError, *, doing: str, settings: LvmSettings) -> ClonepoolError:
    """The kind of one failed command."""
    said = "; ".join(
        line.strip() for line in error.stderr.splitlines() if _ASIDE.match(line) is None
    )
    if error.exit_code == _NOT_FOUND:
        return FailedPrecondition(
            f"{doing}: LVM is not installed; install lvm2 and thin-provisioning-tools",
            reason="LVM_MISSING",
        )
    for words, make in _KINDS.items():
        if re.search(words, said, re.IGNORECASE):
            return make(f"{doing}: {said}", settings)
    return Unavailable(
        f"{doing}: LVM answers: {said or error}; look at `lvs -a {settings.volume_group}`, mend "
        "the storage, then try again",
        reason="STORAGE_FAILED",
        retry_after_s=5.0,
    )


def _of_system(error: OSError, *, doing: str, settings: LvmSettings) -> ClonepoolError:
    """The kind of what a device, or the kernel's device-mapper, answers."""
    text = f"{doing}: {error}"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return _forbidden(text, settings)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _full(text, settings)
    if error.errno == errno.EBUSY:
        return _held(text, settings)
    if error.filename == CONTROL:
        return _no_kernel(text, settings)
    return Unavailable(
        f"{text}; look at the kernel's log, mend the storage, then try again",
        reason="STORAGE_FAILED",
        retry_after_s=5.0,
    )


def is_taken(error: CommandError) -> bool:
    """Whether a command failed because a logical volume has the name already."""
    return "already exists in volume group" in error.stderr


def is_absent(error: CommandError) -> bool:
    """Whether a command failed because there is no logical volume of the name."""
    return "Failed to find logical volume" in error.stderr


def _away(text: str, settings: LvmSettings) -> ClonepoolError:
    return Unavailable(
        f"{text}; connect the disks of volume group {settings.volume_group} and run `vgchange -ay "
        f"{settings.volume_group}`; `vgs` shows what this machine has",
        reason="STORAGE_AWAY",
        retry_after_s=5.0,
    )


def _full(text: str, settings: LvmSettings) -> ClonepoolError:
    return ResourceExhausted(
        f"{text}; scrub released volumes (clonepool scrub run), delete images or grow the pool "
        f"(lvextend -L +10G {settings.pool}, lvextend --poolmetadatasize +1G {settings.pool})",
        reason=STORAGE_FULL,
    )


def _crowded(text: str, settings: LvmSettings) -> ClonepoolError:
    return ResourceExhausted(
        f"{text}; LVM's own record of volume group {settings.volume_group} is full, which is not "
        "the thin pool: delete volumes, or move to a group made with vgcreate --metadatasize 64M",
        reason=STORAGE_FULL,
    )


def _held(text: str, _settings: LvmSettings) -> ClonepoolError:
    return Unavailable(
        f"{text}; end what has it open (lsblk and fuser -v say what), then it goes on by itself",
        reason="VOLUME_HELD",
        retry_after_s=1.0,
    )


def _forbidden(text: str, _settings: LvmSettings) -> ClonepoolError:
    return PermissionDenied(
        f"{text}; run the engine as root: only root may use LVM", reason="STORAGE_FORBIDDEN"
    )


def _no_kernel(text: str, _settings: LvmSettings) -> ClonepoolError:
    return FailedPrecondition(
        f"{text}; this kernel lacks device-mapper or its thin target: modprobe dm_thin_pool, or "
        "use driver file on this machine",
        reason="NO_DEVICE_MAPPER",
    )


def _misconfigured(text: str, _settings: LvmSettings) -> ClonepoolError:
    return InvalidArgument.field("lvm_config", f"LVM can't read it: {text}")


_KINDS: Final[dict[str, Callable[[str, LvmSettings], ClonepoolError]]] = {
    r"/dev/mapper/control|device-mapper driver|not detected in your kernel": _no_kernel,
    r"Parse error|Failed to set overridden": _misconfigured,
    r"must be root|Permission denied|Operation not permitted": _forbidden,
    r"Volume group .+ not found|Cannot process volume group": _away,
    r"too large for circular buffer|metadata area": _crowded,
    r"above threshold|insufficient|not enough|No space left|out of (data|metadata) space": _full,
    r"in use": _held,
}

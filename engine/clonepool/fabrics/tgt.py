"""A client of tgtd's management socket: the protocol that ``tgtadm`` speaks, without the spawn.

One request a connection; tgtd answers and closes. It serves only its own user and group.
"""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from enum import IntEnum
from typing import Final

from clonepool.errors import InvalidArgument

_REQUEST: Final = struct.Struct("=ii64sIiQQIIIIII")
_REPLY: Final = struct.Struct("=II")
_PEER: Final = struct.Struct("=iii")  # struct ucred: pid, uid, gid
_TIMEVAL: Final = struct.Struct("@ll")  # seconds, microseconds
_NO_LUN: Final = 2**64 - 1
_NO_TARGET: Final = -1
# tgtd refuses requests above 8 KiB
_MOST_PARAMETER_BYTES: Final = 8000
_CHUNK_BYTES: Final = 65536
# A full listing took 5.4 s at 4,000 targets, on a busy machine more
_LISTING_TIMEOUT_S: Final = 120.0


class TgtMode(IntEnum):
    """What a request is about; the order is tgtd's."""

    SYSTEM = 0
    TARGET = 1
    DEVICE = 2
    PORTAL = 3
    LLD = 4
    SESSION = 5
    CONNECTION = 6
    ACCOUNT = 7


class TgtOp(IntEnum):
    """What to do; the order is tgtd's."""

    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5


class TgtCode(IntEnum):
    """How tgtd refuses a request; the order is tgtd's."""

    UNKNOWN = 1
    NO_MEMORY = 2
    NO_DRIVER = 3
    NO_TARGET = 4
    NO_LUN = 5
    NO_SESSION = 6
    NO_CONNECTION = 7
    NO_BINDING = 8
    TARGET_EXIST = 9
    LUN_EXIST = 10
    BINDING_EXIST = 11
    ACL_EXIST = 12
    ACL_NOEXIST = 13
    USER_EXIST = 14
    NO_USER = 15
    TOO_MANY_USER = 16
    INVALID_REQUEST = 17
    OUTACCOUNT_EXIST = 18
    TARGET_ACTIVE = 19
    LUN_ACTIVE = 20
    DRIVER_ACTIVE = 21
    UNSUPPORTED = 22
    UNKNOWN_PARAM = 23
    PREVENT_REMOVAL = 24


class TgtError(Exception):
    """tgtd refused a request. The fabric turns it into an error kind, once."""

    def __init__(self, *, code: TgtCode, request: str) -> None:
        self.code = code
        self.request = request
        super().__init__(f"tgtd refused {request}: {code.name.lower().replace('_', '-')}")


class TgtAway(Exception):
    """tgtd did not answer, or the process that answered is another one than before."""


class Tgt:
    """Requests to one tgtd. Thread-safe: nothing is shared between calls.

    ``pid`` is the process that must answer: after a restart the same target ids can stand for
    other targets, so a request never reaches a tgtd that it wasn't meant for. None takes any.
    """

    def __init__(self, *, address: str, pid: int | None = None, timeout_s: float = 10.0) -> None:
        self.address = address
        self.pid = pid
        self._timeout_s = timeout_s

    def call(
        self,
        mode: TgtMode,
        op: TgtOp,
        *,
        tid: int = _NO_TARGET,
        lun: int = _NO_LUN,
        sid: int = 0,
        cid: int = 0,
        parameters: str = "",
        timeout_s: float | None = None,
    ) -> str:
        """Send one request and return its text; blocks. Raises TgtError or TgtAway."""
        data = parameters.encode() + b"\0" if parameters else b""
        if len(data) > _MOST_PARAMETER_BYTES:
            raise InvalidArgument(f"{len(data)} bytes of parameters are more than tgtd reads")
        request = _pack(mode, op, size=len(data), tid=tid, sid=sid, lun=lun, cid=cid)
        code, text = self._exchange(request + data, timeout_s=timeout_s or self._timeout_s)
        if code:
            what = f"{op.name.lower()} {mode.name.lower()} {tid}"
            raise TgtError(code=_known_code(code), request=what)
        return text

    def peer_pid(self) -> int:
        """The process id of the tgtd that listens (0: not visible here). Raises TgtAway."""
        # A request too: the kernel accepts connections for a tgtd that hangs or refuses our user
        with closing(self._connect(timeout_s=self._timeout_s)) as link:
            pid = _peer_pid(link)
            self._converse(link, _pack(TgtMode.CONNECTION, TgtOp.SHOW))
        return pid

    def show_targets(self) -> str:
        """The listing of everything: seconds at thousands of targets, and all I/O waits."""
        return self.call(TgtMode.TARGET, TgtOp.SHOW, timeout_s=_LISTING_TIMEOUT_S)

    def show_accounts(self) -> str:
        """The listing of all accounts, bound or not."""
        return self.call(TgtMode.ACCOUNT, TgtOp.SHOW, timeout_s=_LISTING_TIMEOUT_S)

    def show_connections(self, *, tid: int) -> str:
        """The listing of one target's sessions; cheap at any number of targets."""
        return self.call(TgtMode.CONNECTION, TgtOp.SHOW, tid=tid)

    def new_target(self, *, tid: int, iqn: str) -> None:
        """Make an empty target that admits nobody."""
        self.call(TgtMode.TARGET, TgtOp.NEW, tid=tid, parameters=_pairs(targetname=iqn))

    def delete_target(self, *, tid: int) -> None:
        """Remove a target without sessions and its LUNs; TARGET_ACTIVE and LUN_ACTIVE: retry.

        Never forced: with a session left, tgtd's forced removal can end the daemon itself.
        """
        self.call(TgtMode.TARGET, TgtOp.DELETE, tid=tid)

    def new_lun(self, *, tid: int, lun: int, path: str) -> None:
        """Add a LUN, writable: tgtd ignores ``readonly`` here, so set it before any access."""
        self.call(TgtMode.DEVICE, TgtOp.NEW, tid=tid, lun=lun, parameters=_pairs(path=path))

    def delete_lun(self, *, tid: int, lun: int) -> None:
        """Take a LUN away, under sessions too; LUN_ACTIVE while commands are in flight: retry."""
        self.call(TgtMode.DEVICE, TgtOp.DELETE, tid=tid, lun=lun)

    def update_lun(self, *, tid: int, lun: int, **parameters: str) -> None:
        """Set a LUN's attributes, in the given order."""
        self.call(TgtMode.DEVICE, TgtOp.UPDATE, tid=tid, lun=lun, parameters=_pairs(**parameters))

    def bind_initiator(self, *, tid: int, name: str) -> None:
        """Admit an initiator by name. Never by address: tgtd ORs the two."""
        parameters = _pairs(**{"initiator-name": name})
        self.call(TgtMode.TARGET, TgtOp.BIND, tid=tid, parameters=parameters)

    def unbind_initiator(self, *, tid: int, name: str) -> None:
        """Admit it no more; its live sessions go on."""
        parameters = _pairs(**{"initiator-name": name})
        self.call(TgtMode.TARGET, TgtOp.UNBIND, tid=tid, parameters=parameters)

    def unbind_address(self, *, tid: int, address: str) -> None:
        """Remove an address that somebody else admitted."""
        parameters = _pairs(**{"initiator-address": address})
        self.call(TgtMode.TARGET, TgtOp.UNBIND, tid=tid, parameters=parameters)

    def new_account(self, *, username: str, secret: str) -> None:
        """Make a CHAP account; global to the daemon. USER_EXIST whatever the secret."""
        parameters = _pairs(user=username, password=secret)
        self.call(TgtMode.ACCOUNT, TgtOp.NEW, parameters=parameters)

    def bind_account(self, *, tid: int, username: str) -> None:
        """Ask for this account at every login to the target."""
        self.call(TgtMode.ACCOUNT, TgtOp.BIND, tid=tid, parameters=_pairs(user=username))

    def delete_account(self, *, username: str) -> None:
        """Remove an account; a target it was bound to stands open without CHAP."""
        self.call(TgtMode.ACCOUNT, TgtOp.DELETE, parameters=_pairs(user=username))

    def delete_connection(self, *, tid: int, sid: int, cid: int) -> None:
        """Cut one connection; it is gone when the commands in flight have ended."""
        self.call(TgtMode.CONNECTION, TgtOp.DELETE, tid=tid, sid=sid, cid=cid)

    def end(self) -> None:
        """Have tgtd end itself; refused while it has targets."""
        self.call(TgtMode.SYSTEM, TgtOp.DELETE)

    def show_portals(self) -> str:
        """The listing of addresses that tgtd listens on."""
        return self.call(TgtMode.PORTAL, TgtOp.SHOW)

    def new_portal(self, *, portal: str) -> None:
        """Listen on one more ``address:port``."""
        self.call(TgtMode.PORTAL, TgtOp.NEW, parameters=_pairs(portal=portal))

    def delete_portal(self, *, portal: str) -> None:
        """Listen on ``address:port`` no more; sessions made through it go on."""
        self.call(TgtMode.PORTAL, TgtOp.DELETE, parameters=_pairs(portal=portal))

    def _exchange(self, request: bytes, *, timeout_s: float) -> tuple[int, str]:
        with closing(self._connect(timeout_s=timeout_s)) as link:
            if self.pid is not None and (pid := _peer_pid(link)) != self.pid:
                raise TgtAway(f"tgtd was restarted (process {pid}, was {self.pid})")
            return self._converse(link, request)

    def _connect(self, *, timeout_s: float) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # tgtd lets 32 connections wait. More of them wait here in the kernel, for as long as this
        # says; a socket with a time limit of Python's own would be refused at once (EAGAIN).
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout_s))
        try:
            link.connect(self.address)
        except OSError as error:
            link.close()
            raise TgtAway(f"no tgtd answers at {self.address}: {error.strerror}") from None
        link.settimeout(timeout_s)
        return link

    def _converse(self, link: socket.socket, request: bytes) -> tuple[int, str]:
        try:
            link.sendall(request)
            code, length = _REPLY.unpack(_receive(link, _REPLY.size))
            text = _receive(link, length - _REPLY.size) if length > _REPLY.size else b""
        except OSError as error:
            reason = error.strerror or str(error) or "it hung up"
            raise TgtAway(f"tgtd at {self.address} gave no answer: {reason}") from None
        return code, text.rstrip(b"\0").decode(errors="replace")


def _pairs(**parameters: str) -> str:
    """``name=value,...``; a comma in a value would begin another parameter."""
    for name, value in parameters.items():
        if "," in value or "\0" in value:
            raise InvalidArgument.field(name, "must not contain a comma; tgtd would split it")
    return ",".join(f"{name}={value}" for name, value in parameters.items())


def _pack(
    mode: TgtMode,
    op: TgtOp,
    *,
    size: int = 0,
    tid: int = _NO_TARGET,
    sid: int = 0,
    lun: int = _NO_LUN,
    cid: int = 0,
) -> bytes:
    """The head of a request that is followed by ``size`` bytes of parameters."""
    length = _REQUEST.size + size
    host_no = device_type = account_direction = pack = force = 0
    rest = (host_no, device_type, account_direction, pack, force)
    return _REQUEST.pack(mode, op, b"iscsi", length, tid, sid, lun, cid, *rest)


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1_000_000))


def _receive(link: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = link.recv(min(count - len(received), _CHUNK_BYTES))
        if not chunk:
            raise ConnectionError("it hung up; it serves only its own user and group")
        received += chunk
    return bytes(received)


def _peer_pid(link: socket.socket) -> int:
    pid: int = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
    return pid


def _known_code(code: int) -> TgtCode:
    try:
        return TgtCode(code)
    except ValueError:
        return TgtCode.UNKNOWN

"""An iSCSI login by hand, for what no well-behaved initiator does: stopping in the middle."""

from __future__ import annotations

import socket
import struct

LOGIN, IMMEDIATE, TRANSIT = 0x03, 0x40, 0x80
SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
_HEAD = 48


class LoginEnded(Exception):
    """The target refused the login or hung up."""


class RawLogin:
    """One connection's login phase, a request at a time; no CHAP."""

    def __init__(self, portal: str, *, target: str, initiator: str) -> None:
        address, _, port = portal.rpartition(":")
        self._socket = socket.create_connection((address, int(port)), timeout=5)
        self._keys = {
            "InitiatorName": initiator,
            "TargetName": target,
            "SessionType": "Normal",
            "AuthMethod": "None",
        }
        self._tsih = 0

    def pass_security(self) -> None:
        """Name the target and get past authentication."""
        self._request(SECURITY, OPERATIONAL, self._keys)

    def finish(self) -> None:
        """Enter the full feature phase: the session exists from now on."""
        keys = {"HeaderDigest": "None", "DataDigest": "None", "ErrorRecoveryLevel": "0"}
        # LIO asks for what an initiator does not offer, and goes on only with an answer
        keys |= {"ImmediateData": "Yes", "MaxBurstLength": "262144", "MaxOutstandingR2T": "1"}
        keys |= {"DefaultTime2Wait": "2", "DefaultTime2Retain": "0"}
        self._request(OPERATIONAL, FULL_FEATURE, keys)

    def close(self) -> None:
        self._socket.close()

    def _request(self, stage: int, following: int, keys: dict[str, str]) -> None:
        text = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
        head = struct.pack(
            ">BBBBB3s6sHIHHII16s",
            LOGIN | IMMEDIATE,
            TRANSIT | stage << 2 | following,
            0,
            0,
            0,
            len(text).to_bytes(3, "big"),
            b"\x80\0\0\0\0\x01",
            self._tsih,
            1,
            0,
            0,
            1,
            0,
            bytes(16),
        )
        self._socket.sendall(head + text + bytes(-len(text) % 4))
        answer = self._receive(_HEAD)
        length = int.from_bytes(answer[5:8], "big")
        self._receive(length + -length % 4)
        if answer[36] != 0:
            raise LoginEnded(f"status {answer[36]:#x}{answer[37]:02x}")

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            chunk = self._socket.recv(count - len(received))
            if not chunk:
                raise LoginEnded("the target hung up")
            received += chunk
        return received

"""What was granted, beside the daemon that holds it: tgtd never tells a secret again.

After a restart the engine must know whether a target's account still has the secret that its
rows want, without cutting live sessions to find out; and whose accounts are whose after a crash
between two requests. The log lives and dies with one run of tgtd, so it is never synced: what
takes the page cache takes the daemon too.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clonepool.fabrics.base import Access

# a line has some 200 bytes: compacted before it is long to read
_MOST_LINES: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class Granted:
    """The last access that was begun on a target: its CHAP user name ("" none) and its proof."""

    username: str
    proof: str


class AccessLog:
    """Append-only lines, the last one of a target counts. Thread-safe.

    A secret is kept only as an HMAC under a salt of this file, which is 0600. An entry is written
    before tgtd is told and removed after the target is gone, so a target without an entry was
    never open to anybody.
    """

    def __init__(self, *, path: Path, incarnation: str) -> None:
        self._path = path
        self._incarnation = incarnation
        self._guard = threading.Lock()
        self._entries: dict[str, Granted] = {}
        self._salt = secrets.token_hex(16)
        self._lines = 0
        self._load()
        self._descriptor = self._rewrite()

    def find(self, target: str) -> Granted | None:
        """The access last begun on a target, or None when there never was one."""
        return self._entries.get(target)

    def entries(self) -> dict[str, Granted]:
        """All entries by target."""
        return dict(self._entries)

    def proof(self, access: Access) -> str:
        """What stands for this access's secret; "" without CHAP."""
        if access.chap is None:
            return ""
        message = f"{access.initiator}\0{access.chap.username}\0{access.chap.secret}"
        return hmac.new(self._salt.encode(), message.encode(), "sha256").hexdigest()

    def remember(self, target: str, access: Access) -> None:
        """An access is about to be begun."""
        username = access.chap.username if access.chap else ""
        entry = Granted(username=username, proof=self.proof(access))
        with self._guard:
            self._entries[target] = entry
            self._append(_line(target, entry))

    def forget(self, target: str) -> None:
        """The target is gone, and its account."""
        with self._guard:
            if self._entries.pop(target, None) is not None:
                self._append({"target": target})

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, line: dict[str, Any]) -> None:
        if self._lines > _MOST_LINES:
            os.close(self._descriptor)
            self._descriptor = self._rewrite()
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        self._lines += 1

    def _load(self) -> None:
        lines: list[str] = []
        with suppress(OSError, ValueError, KeyError):
            header, *lines = self._path.read_text().splitlines()
            known = json.loads(header)
            if known["incarnation"] != self._incarnation:
                return
            self._salt = known["salt"]
        for text in lines:
            with suppress(ValueError, KeyError):  # the last line may be cut off
                self._read(json.loads(text))

    def _read(self, line: dict[str, Any]) -> None:
        if "proof" in line:
            entry = Granted(username=line["username"], proof=line["proof"])
            self._entries[line["target"]] = entry
        else:
            self._entries.pop(line["target"], None)

    def _rewrite(self) -> int:
        aside = self._path.with_name(self._path.name + ".new")
        lines: list[dict[str, Any]] = [{"incarnation": self._incarnation, "salt": self._salt}]
        lines += [_line(target, entry) for target, entry in self._entries.items()]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(aside, flags, 0o600)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        while text:
            text = text[os.write(descriptor, text) :]
        aside.replace(self._path)
        self._lines = len(lines)
        return descriptor


def _line(target: str, entry: Granted) -> dict[str, Any]:
    return {"target": target, "username": entry.username, "proof": entry.proof}

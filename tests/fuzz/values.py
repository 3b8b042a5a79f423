"""What users and attackers write: plausible values by a field's name, and nasty ones for any."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from typing import Final

TEN_KB: Final = 10_000
NASTY_TEXTS: Final[Sequence[str]] = (
    "",
    " ",
    "a,b",
    "a/b",
    "/",
    ".",
    "..",
    "../../etc/passwd",
    "a\nb",
    "web\n",
    "\r\n",
    "a\0b",
    "\0",
    "'",
    '"',
    "a'; DROP TABLE pool; --",
    "\\",
    "%",
    "_%",
    "%s%n",
    "{}",
    "$(reboot)",
    "`id`",
    "-rf",
    "--help",
    "a=b",
    "é",  # composed
    "e\u0301",  # and not
    "\u202egnp.exe",
    "مرحبا",
    "😀",
    "👨‍👩‍👧",
    "\ufeffbom",
    "\u2028",
    "\x1b[31mred",
    "\x7f",
    "WEB",
    "a" * 63,
    "a" * 64,
    "a" * TEN_KB,
    "é" * (TEN_KB // 2),
    "0",
    "-1",
    "1e9",
    "9" * 30,
    "NaN",
    "null",
    "true",
    "10GiB",
    "1.5GiB",
    "-5MiB",
    "30s",
    "iqn.2026-01.com.example:web1",
    "iqn.2026-01.com.example:a,b",
    "http://",
    "http://[",
    "https://user:pa55word@127.0.0.1:1/x?sig=abc",
    "HTTP://127.0.0.1:1/x",
    "http://127.0.0.1:99999/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "data:,x",
    "nbd://127.0.0.1/x",
    "json:{}",
    "/proc/self/mem",
    "/proc/self/environ",
    "/proc/kmsg",
    "/dev/zero",
    "/dev/tty",
    "/sys/power/state",
    "/etc/",
    "//etc//passwd",
    "/" + "a" * 300,
    "/" + "a/" * 3000,
)
NASTY_INTS: Final[Sequence[int]] = (
    0,
    1,
    -1,
    2,
    511,
    512,
    513,
    1000,
    1001,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**53 + 1,
    2**63 - 512,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    2**64,
)
NASTY_DOUBLES: Final[Sequence[float]] = (
    0.0,
    -0.0,
    -1.0,
    0.5,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
)
_WORDS: Final[dict[str, Sequence[str]]] = {
    "clone_mode": ("", "auto", "thin", "full"),
    "when_empty": ("", "wait", "fail"),
    "method": ("", "reformat", "zero", "discard"),
    "then": ("", "recycle", "destroy"),
    "mode": ("", "generated", "given", "none"),
    "portion": ("read_only", "writable"),
    "format": ("", "auto", "raw", "qcow2"),
    "fabric": ("", "iscsi"),
    "storage": ("", "default"),
    "sha256": ("", "ab" * 32),
    "state": ("", "ready", "released", "faulty"),
    "page_token": ("", "0", "3"),
    "username": ("", "acme"),
    "unknown": ("pool", "server", "system_user"),
    "initiator": ("", "iqn.2026-01.test:fuzz"),
    "path": ("/etc/motd",),
}


def text(chance: random.Random, field: str, known: Sequence[str]) -> str:
    """A value for a text field: something plausible, something that exists, something nasty."""
    kind = chance.random()
    if kind < 0.35 and field in _WORDS:
        return chance.choice(_WORDS[field])
    if kind < 0.6 and known:
        return chance.choice(known)
    if kind < 0.92:
        return chance.choice(NASTY_TEXTS)
    return noise(chance)


def noise(chance: random.Random) -> str:
    """Random characters of all planes, without surrogates, which no message can hold."""
    length = chance.choice((1, 3, 20, 200))
    planes = (string.printable, "\u0000\u0001\u007f\u0080\u200b\u202e\uffff\U0001f600")
    return "".join(chance.choice(chance.choice(planes)) for _ in range(length))


def whole(chance: random.Random, *, least: int, most: int) -> int:
    """A value of an integer field, within what its type holds."""
    if chance.random() < 0.5:
        return chance.randint(0, 4)
    fitting = [value for value in NASTY_INTS if least <= value <= most]
    return chance.choice(fitting)

"""What the double's resources are: their inputs, their defaults and how their values are made."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

TOKEN_PREFIX: Final = "random:index/"

Values = Mapping[str, object]

ADVERBS: Final = ("ably", "briskly", "calmly", "duly", "early", "firmly", "gladly", "kindly")
ADJECTIVES: Final = ("amber", "bold", "crisp", "deft", "eager", "frank", "giant", "hardy")
# as many as the real provider has, and more: a fleet whose names collide is no test of anything
_SYLLABLES: Final = tuple(f"{one}{two}" for one in "bdfgklmnprstvz" for two in "aeiou")
NAME_SYLLABLES: Final = 3
SPECIAL: Final = "!@#$%&*()-_=+[]{}<>:?"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A new object: its id, and the outputs beside the inputs it was made from."""

    id: str
    outputs: Values


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One resource type. Every input forces replacement, as in the real provider.

    ``minimums`` are the smallest values of whole-number inputs, ``computed`` the outputs that a
    preview cannot know, ``secret`` those of them that the state must encrypt.
    """

    token: str
    make: Callable[[Values], Made]
    computed: tuple[str, ...]
    required: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    defaults: Values = field(default_factory=dict)
    minimums: Mapping[str, int] = field(default_factory=dict)


def make_pet(values: Values) -> Made:
    """``prefix-adverb-adjective-name``: the last ``length`` words, at random."""
    length, separator = _whole(values["length"]), str(values["separator"])
    words = [secrets.choice(ADVERBS) for _ in range(length - 2)]
    if length > 1:
        words.append(secrets.choice(ADJECTIVES))
    words.append("".join(secrets.choice(_SYLLABLES) for _ in range(NAME_SYLLABLES)))
    prefix = [str(values["prefix"])] if values.get("prefix") else []
    return Made(id=separator.join(prefix + words), outputs={})


def make_id(values: Values) -> Made:
    """``byteLength`` random bytes in four notations; only the outputs carry the prefix."""
    raw = secrets.token_bytes(_whole(values["byteLength"]))
    prefix = str(values.get("prefix") or "")
    url = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    notations = {
        "b64Std": base64.b64encode(raw).decode(),
        "b64Url": url,
        "dec": str(int.from_bytes(raw, "big")),
        "hex": raw.hex(),
    }
    return Made(id=url, outputs={name: prefix + text for name, text in notations.items()})


def make_password(values: Values) -> Made:
    """``length`` characters of the classes asked for, with at least the asked number of each."""
    special = str(values.get("overrideSpecial") or SPECIAL)
    classes = {
        "lower": string.ascii_lowercase,
        "upper": string.ascii_uppercase,
        "numeric": string.digits,
        "special": special,
    }
    picked: list[str] = []
    for name, letters in classes.items():
        least = _whole(values.get(f"min{name.capitalize()}", 0))
        picked += [secrets.choice(letters) for _ in range(least)]
    every = "".join(letters for name, letters in classes.items() if values.get(name))
    picked += [secrets.choice(every) for _ in range(_whole(values["length"]) - len(picked))]
    secrets.SystemRandom().shuffle(picked)
    return Made(id="none", outputs={"result": "".join(picked)})


def _whole(value: object) -> int:
    """A whole number, which the wire carries as a float."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return int(value)


KINDS: Final[Mapping[str, Kind]] = {
    kind.token: kind
    for kind in (
        Kind(
            token=f"{TOKEN_PREFIX}randomPet:RandomPet",
            make=make_pet,
            computed=(),
            defaults={"length": 2, "separator": "-"},
            minimums={"length": 1},
        ),
        Kind(
            token=f"{TOKEN_PREFIX}randomId:RandomId",
            make=make_id,
            computed=("b64Std", "b64Url", "dec", "hex"),
            required=("byteLength",),
            minimums={"byteLength": 1},
        ),
        Kind(
            # bcryptHash is left out: no bcrypt in the standard library, and no example reads it
            token=f"{TOKEN_PREFIX}randomPassword:RandomPassword",
            make=make_password,
            computed=("result",),
            required=("length",),
            secret=("result",),
            defaults={"lower": True, "upper": True, "numeric": True, "special": True},
            minimums={"length": 1},
        ),
    )
}

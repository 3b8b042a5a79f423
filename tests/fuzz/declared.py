"""Inputs made from the declaration: a field that is added to it is fuzzed without being named."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from clonepool_resources.types import (
    EnumType,
    Field,
    FieldType,
    Kind,
    ListOf,
    MapOf,
    ObjectType,
    Resource,
)
from tests.fuzz import values
from tests.fuzz.messages import SECRET

GOOD: Final[Mapping[str, Mapping[str, Any]]] = {
    "MasterImage": {"name": "web", "writable": {"source": "/images/web.raw"}},
    "ReplicaPool": {"name": "web", "master_image": "web"},
    "Server": {"name": "web1", "initiator": "iqn.2026-01.com.example:web1"},
    "ServerStorageAttachment": {"name": "a1", "pool": "web", "server": "web1"},
}
# a number where a text belongs must not be repeated either
SECRET_NUMBER: Final = 902104_5517734
_WORDS: Final[Mapping[Kind, tuple[Any, ...]]] = {
    Kind.SIZE: ("10GiB", "512B", "0B", "-1GiB", "1.5GiB", "1.3B", "9" * 400 + "TiB", "1e9GiB", 512),
    Kind.DURATION: ("30s", "7d", "0s", "-1s", "1h30m", "9" * 400 + "d", "1.5.5s", 30),
    Kind.MODE: ("0644", "644", "0o644", "9999", "-1", "0" * 5000 + "7", "\uff17", 420),
    Kind.BOOL: (True, False, "true", 1, 0),
    Kind.INT: (*values.NASTY_INTS, 1.0, 1.5, "3", True, 1e300),
}
_WRONG: Final[tuple[Any, ...]] = (None, [], {}, [[]], {"a": {}}, 0, -1, 0.5, True, "", "x")
_DEEP: Final = 60


class DeclaredInputs:
    """Inputs of a resource: good ones with a field or two made otherwise, or anything."""

    def __init__(self, chance: random.Random, *, typed: bool = False) -> None:
        self._chance = chance
        # a face whose ecosystem checks types itself never hands in others
        self._typed = typed

    def inputs(self, resource: Resource) -> dict[str, Any]:
        """Values by name; strangers among them, unless the ecosystem keeps them out."""
        chance = self._chance
        made = dict(GOOD[resource.name]) if chance.random() < 0.7 else {}
        for field in chance.sample(resource.inputs, chance.randint(1, 3)):
            made[field.name] = self._field(field)
        if not self._typed and chance.random() < 0.1:
            made[chance.choice(values.NASTY_TEXTS)[:80] or "stranger"] = self._wrong()
        return made

    def _field(self, field: Field) -> Any:
        if field.secret and self._chance.random() < 0.8:
            secrets = (SECRET, SECRET + ",", f" {SECRET}", SECRET + "\n")
            wrong = (SECRET_NUMBER, [SECRET], {SECRET: SECRET})
            return self._chance.choice(secrets if self._typed else (*secrets, *wrong))
        return self._of(field.type, field.name)

    def _of(self, type_: FieldType, name: str) -> Any:
        chance = self._chance
        if chance.random() < 0.05:
            return None
        if not self._typed and chance.random() < 0.1:
            return self._wrong()
        if isinstance(type_, ObjectType):
            return {
                field.name: self._field(field) for field in type_.fields if chance.random() < 0.6
            }
        if isinstance(type_, ListOf):
            return [self._of(type_.item, name) for _ in range(chance.randint(0, 3))]
        if isinstance(type_, MapOf):
            return self._map(type_)
        if isinstance(type_, EnumType):
            good = chance.random() < 0.7
            return chance.choice([*type_.values] if good else values.NASTY_TEXTS)
        return self._scalar(type_, name)

    def _map(self, type_: MapOf) -> dict[str, Any]:
        count = self._chance.choice((0, 1, 2, 70))
        return {
            values.text(self._chance, "key", ()): self._of(type_.item, "value")
            for _ in range(count)
        }

    def _scalar(self, kind: Kind, name: str) -> Any:
        if kind is Kind.STRING:
            return values.text(self._chance, name, ("web", "/images/web.raw"))
        words = _WORDS[kind]
        if not self._typed:
            return self._chance.choice(words)
        fitting = {Kind.BOOL: bool, Kind.INT: int}.get(kind, str)
        return self._chance.choice([word for word in words if type(word) is fitting])

    def _wrong(self) -> Any:
        if self._chance.random() < 0.1:
            deep: Any = "x"
            for _ in range(_DEEP):
                deep = [deep]
            return deep
        return self._chance.choice((*_WRONG, *values.NASTY_TEXTS))

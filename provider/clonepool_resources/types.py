"""What a declaration is made of: fields, their types, and the resources and functions they form.

No ecosystem is known here. Every attribute that a face needs (Pulumi's classes, schema.json, a
Terraform schema) is said once, on the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from clonepool.errors import FieldViolation

Value: TypeAlias = Any
"""A JSON-like value as an ecosystem hands it in: str, int, float, bool, list, dict, or unknown."""

Inputs: TypeAlias = Mapping[str, Value]
"""A resource's (or an object's) values by snake_case name; an absent value is an absent key."""


class Kind(StrEnum):
    """The scalar types; a size, a duration and a mode are strings in, whole numbers inside."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    SIZE = "size"  # "10GiB", compared in bytes
    DURATION = "duration"  # "30s", compared in seconds
    MODE = "mode"  # "0644", permission bits in octal


@dataclass(frozen=True, kw_only=True)
class EnumType:
    """One of a few words, each with its meaning."""

    name: str
    description: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ListOf:
    """Several values in an order that matters."""

    item: FieldType


@dataclass(frozen=True, kw_only=True)
class MapOf:
    """Values by a free key.

    Where ``most_items`` is set, keys and texts are one line of printable characters each, no
    longer than the limits; a key is not empty and has no spaces around it.
    """

    item: Kind
    most_items: int = 0
    longest_key: int = 0
    longest_text: int = 0


@dataclass(frozen=True, kw_only=True)
class ObjectType:
    """A named group of fields."""

    name: str
    description: str
    fields: tuple[Field, ...]


FieldType: TypeAlias = Kind | EnumType | ListOf | MapOf | ObjectType


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value of a resource.

    - ``default``: filled in by check when left out; ``{}`` on an object fills its own defaults.
    - ``default_at_most``: the field that the default is never more than.
    - ``replace``: a change makes a new resource; on an object, only its coming or going does, and
      its fields say it for themselves.
    - ``computed``: the engine sets it; with ``optional_input`` the user may set it too.
    - ``stable``: computed once, the same for the resource's whole life.
    - ``moved_by``: computed, and changes only with one of these inputs; empty: with any of them.
    - ``secret``: never shown; ``write_only``: the engine never gives it back.
    - ``local``: used by the provider alone, so the engine neither has it nor gives it back.
    - ``ephemeral``: a secret made by the engine, kept only where state is encrypted.
    - ``derived``: the face may make it up when it is left out (a name).
    - ``refers_to``: the resource whose name it takes.
    """

    name: str
    type: FieldType
    description: str
    required: bool = False
    default: str | int | bool | Mapping[str, Value] | None = None
    default_at_most: str = ""
    replace: bool = False
    computed: bool = False
    optional_input: bool = False
    stable: bool = False
    moved_by: tuple[str, ...] = ()
    secret: bool = False
    write_only: bool = False
    local: bool = False
    ephemeral: bool = False
    derived: bool = False
    refers_to: str = ""
    ignore_case: bool = False
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    pattern_hint: str = ""

    @property
    def is_input(self) -> bool:
        """Whether a user may set it."""
        return not self.computed or self.optional_input


Rule: TypeAlias = Callable[[Inputs], Iterator[FieldViolation]]
"""A check across fields. It sees only what is known: a value that is unknown counts as given."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One kind of thing that a user declares; ``title`` begins its messages ("pool")."""

    name: str
    title: str
    description: str
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...] = ()

    @property
    def inputs(self) -> tuple[Field, ...]:
        """What a user may set."""
        return tuple(field for field in self.fields if field.is_input)

    @property
    def outputs(self) -> tuple[Field, ...]:
        """What the engine sets."""
        return tuple(field for field in self.fields if field.computed)


@dataclass(frozen=True, kw_only=True)
class Function:
    """A read of what is there now, for what is never an output because it moves by itself."""

    name: str
    description: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

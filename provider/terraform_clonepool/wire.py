"""Terraform's values on the wire: MessagePack, with a marker for what is only known later."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgpack

from terraform_clonepool.proto import tfplugin6_pb2 as pb


class Unknown:
    """The type of ``UNKNOWN``: only known after the apply."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> NoReturn:
        raise TypeError("an unknown value is neither true nor false; ask `value is UNKNOWN`")


UNKNOWN: Final = Unknown()
_UNKNOWN_CODE: Final = 0


def is_unknown(value: object) -> bool:
    """Whether a value is only known after the apply."""
    return value is UNKNOWN


def read_value(value: pb.DynamicValue) -> Any:
    """A value as None, UNKNOWN, str, bool, int, float, list and dict."""
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, ext_hook=_extension, strict_map_key=False)
    return read_json(value.json)


def read_json(text: bytes) -> Any:
    """A value from a state file, which holds nothing unknown."""
    return json.loads(text) if text else None


def write_value(value: Any) -> pb.DynamicValue:
    """The message that carries a value. Raises TypeError for what no value can be."""
    return pb.DynamicValue(msgpack=msgpack.packb(value, default=_pack_other))


def whole_number(value: Any) -> Any:
    """A number as int where it is whole; Terraform sends large ones as text."""
    number = Decimal(value) if isinstance(value, str) else value
    if isinstance(number, (float, Decimal)) and number == int(number):
        return int(number)
    return number


def _extension(_code: int, _data: bytes) -> Unknown:
    # any code: newer versions say more about an unknown value (not null, a prefix) by other codes
    return UNKNOWN


def _pack_other(value: Any) -> msgpack.ExtType:
    if value is UNKNOWN:
        return msgpack.ExtType(_UNKNOWN_CODE, b"\0")
    raise TypeError(f"{type(value).__name__} can't be sent to Terraform")

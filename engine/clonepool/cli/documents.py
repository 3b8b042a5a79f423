"""Messages as JSON documents with the API's own field names, for ``--json``.

protobuf's json_format writes 64-bit numbers as strings and enumerations by their long names;
here numbers are numbers and a system user's kind is ``customer`` or ``application``. Every field
is there, with null for a message that is absent, so that a program can rely on the keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from google.protobuf.message import Message


def document(message: Message) -> Any:
    """One message as what json.dumps takes; times are ISO 8601 in UTC."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        return iso_time(message)
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def documents(messages: Iterable[Message]) -> list[Any]:
    """Several messages."""
    return [document(message) for message in messages]


def seconds(timestamp: Any) -> float:
    """A Timestamp as POSIX seconds."""
    return float(timestamp.seconds) + float(timestamp.nanos) / 1e9


def iso_time(timestamp: Any) -> str:
    """A Timestamp as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds(timestamp), tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        return dict(value)
    if field.is_repeated:
        return [_single(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return document(value)
    if field.enum_type is not None:
        return _enum_word(field, value)
    return value


def _enum_word(field: FieldDescriptor, number: int) -> str:
    """``customer`` for SYSTEM_USER_KIND_CUSTOMER: the enumeration's name is a prefix in proto."""
    names: dict[int, str] = {value.number: value.name for value in field.enum_type.values}
    common = names[0].removesuffix("UNSPECIFIED")
    return names.get(number, str(number)).removeprefix(common).lower()


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry

"""Requests made from the descriptors: what is added to them is fuzzed at once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from clonepool.api.v1 import engine_pb2 as pb
from tests.fuzz import values

F: Final = FieldDescriptor
SERVICE: Final = pb.DESCRIPTOR.services_by_name["Engine"]
# nothing of this length is printable by chance: where it turns up, the secret got out
SECRET: Final = "s3cret-that-nobody-may-see"
_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    F.CPPTYPE_UINT32: (0, 2**32 - 1),
    F.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_SECRET_FIELDS: Final = frozenset({"secret"})
_REPEATED: Final = (0, 1, 1, 2, 3)


class Requests:
    """Makes requests; ``known`` are names and ids that exist, by the field that they fit."""

    def __init__(self, chance: random.Random, known: Mapping[str, Sequence[str]]) -> None:
        self._chance = chance
        self._known = known

    def method(self) -> MethodDescriptor:
        """Any RPC; those that make and change things most often."""
        writing = [each for each in SERVICE.methods if each.name.startswith(("Create", "Update"))]
        return self._chance.choice(writing if self._chance.random() < 0.5 else SERVICE.methods)

    def request(self, method: MethodDescriptor, good: Message | None = None) -> Message:
        """A random request, or ``good`` with one or two fields made otherwise."""
        if good is None:
            return self._random(method.input_type, depth=0)
        changed = type(good)()
        changed.CopyFrom(good)
        for _ in range(self._chance.choice((1, 1, 2))):
            self._mutate(changed)
        return changed

    def _random(self, descriptor: Descriptor, *, depth: int) -> Message:
        message: Message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if self._chance.random() < (0.75 if depth < 2 else 0.4):
                self._fill(message, field, depth=depth)
        return message

    def _mutate(self, message: Message) -> None:
        field = self._chance.choice(message.DESCRIPTOR.fields)
        inner = field.message_type is not None and not field.is_repeated
        if inner and message.HasField(field.name) and self._chance.random() < 0.85:
            self._mutate(getattr(message, field.name))
            return
        message.ClearField(field.name)
        if self._chance.random() < 0.85:
            self._fill(message, field, depth=1)

    def _fill(self, message: Message, field: FieldDescriptor, *, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(self._chance.choice((0, 1, 2, 70))):
                getattr(message, field.name)[self._text("key")] = self._text("value")
        elif field.is_repeated:
            self._fill_repeated(message, field, depth=depth)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self._random(field.message_type, depth=depth + 1))
        else:
            setattr(message, field.name, self._scalar(field))

    def _fill_repeated(self, message: Message, field: FieldDescriptor, *, depth: int) -> None:
        items = getattr(message, field.name)
        for _ in range(self._chance.choice(_REPEATED)):
            if field.message_type is not None:
                items.add().CopyFrom(self._random(field.message_type, depth=depth + 1))
            else:
                items.append(self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        chance = self._chance
        if field.cpp_type == F.CPPTYPE_STRING:
            secret = field.name in _SECRET_FIELDS and chance.random() < 0.8
            return (
                chance.choice((SECRET, SECRET + ",", SECRET + "\n"))
                if secret
                else (self._text(field.name))
            )
        if field.cpp_type == F.CPPTYPE_BOOL:
            return chance.random() < 0.5
        if field.cpp_type == F.CPPTYPE_ENUM:
            return chance.choice((0, 1, 2, 77, -1))
        if field.cpp_type == F.CPPTYPE_DOUBLE:
            return chance.choice(values.NASTY_DOUBLES)
        least, most = _RANGES[field.cpp_type]
        return values.whole(chance, least=least, most=most)

    def _text(self, field: str) -> str:
        return values.text(self._chance, field, self._known.get(field, ()))


def garbled(chance: random.Random, message: Message) -> bytes:
    """A message's bytes with some of them changed, cut off or added: what no library would send."""
    data = bytearray(message.SerializeToString() or b"\x0a\x03web")
    for _ in range(chance.choice((1, 2, 8))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    return bytes(data)

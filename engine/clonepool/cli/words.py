"""Values as people read and write them: times ago, sizes, system users, labels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clonepool.errors import FieldViolation, InvalidArgument
from clonepool.units import format_duration, format_size

if TYPE_CHECKING:
    from clonepool.api.v1 import engine_pb2 as pb


def ago(timestamp: Any, *, now: float | None = None) -> str:
    """``3m ago``; "" for a time that is absent."""
    if not timestamp.seconds:
        return ""
    passed = (time.time() if now is None else now) - timestamp.seconds - timestamp.nanos / 1e9
    return "now" if passed < 1 else f"{format_duration(int(passed))} ago"


def until(timestamp: Any, *, now: float | None = None) -> str:
    """``14:32 (UTC)``, with the date where that is not today's."""
    moment = datetime.fromtimestamp(timestamp.seconds, tz=UTC)
    today = datetime.fromtimestamp(time.time() if now is None else now, tz=UTC).date()
    form = "%H:%M (UTC)" if moment.date() == today else "%Y-%m-%d %H:%M (UTC)"
    return moment.strftime(form)


def size(size_bytes: int) -> str:
    """``10 GiB``; "" for none."""
    return format_size(size_bytes) if size_bytes else ""


def user(value: pb.SystemUser) -> str:
    """``customer/acme``; "" for none."""
    if not value.name:
        return ""
    kind = type(value).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[value.kind].name
    return f"{kind.removeprefix('SYSTEM_USER_KIND_').lower()}/{value.name}"


def count(number: int, thing: str) -> str:
    """``1 pool``, ``2 pools``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def by_flags(error: InvalidArgument, flags: Mapping[str, str]) -> InvalidArgument:
    """The refusal in the words of a command line; ``flags`` by the request's own field names."""
    found = [
        FieldViolation(field=flags.get(each.field, each.field), description=each.description)
        for each in error.violations
    ]
    text = "; ".join(f"{each.field}: {each.description}" for each in found) or str(error)
    return InvalidArgument(text, reason=error.reason, violations=found)


def parse_user(text: str, *, option: str = "--system-user") -> pb.SystemUser | None:
    """``customer/acme`` or ``application/shop``; "" is None. Raises InvalidArgument."""
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - the caller has it already

    if not text:
        return None
    kind, slash, name = text.partition("/")
    kinds = {
        "customer": pb.SYSTEM_USER_KIND_CUSTOMER,
        "application": pb.SYSTEM_USER_KIND_APPLICATION,
    }
    if kind not in kinds or not slash or not name:
        raise InvalidArgument.field(
            option, f"{text!r} is no system user; write customer/NAME or application/NAME"
        )
    return pb.SystemUser(name=name, kind=kinds[kind])


def parse_labels(pairs: Iterable[str] | None, *, option: str = "--label") -> dict[str, str]:
    """``key=value`` pairs as a mapping. Raises InvalidArgument."""
    labels = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidArgument.field(option, f"{pair!r} is no label; write key=value")
        labels[key] = value
    return labels


def labels_text(labels: Mapping[str, str]) -> str:
    """``key=value`` pairs, sorted."""
    return " ".join(f"{key}={value}" for key, value in sorted(labels.items()))

"""The provider's own settings: checked, compared, and what a client of the engine is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from clonepool.api.endpoint import client_environment, parse_endpoints
from clonepool.errors import FailedPrecondition, FieldViolation, InvalidArgument
from clonepool.units import parse_duration
from clonepool_resources.lifecycle import DEFAULT_TIMEOUT_S
from clonepool_resources.near_keys import KEYS
from clonepool_resources.tickets import chosen_ticket
from clonepool_resources.types import Inputs, Value
from pulumi_clonepool_plugin.properties import UNKNOWN

if TYPE_CHECKING:
    from clonepool.api.client import EngineClient

# which engine it is; a ticket is not for long, so that another one is no change of the provider
_ENGINE_KEYS: Final = ("endpoint", "token", "caFile")
SECRET_KEYS: Final = ("token",)
_HOW_TO_SHOW_ONESELF: Final = (
    "the token that the engine asks for over TCP (or set CLONEPOOL_TOKEN, or CLONEPOOL_CLIENT_CERT "
    "and CLONEPOOL_CLIENT_KEY)"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which engine, and how long an import or the filling of a pool may take.

    What is "" comes from ``CLONEPOOL_*``, else it is this machine's own engine. ``unknown`` names
    what is only known after the update; nothing that needs the engine can be done then. ``hold``
    is the ticket that attachments are served by, "" for none.
    """

    endpoint: str = ""
    token: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S
    hold: str = ""
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Inputs) -> Settings:
        """Settings of a configuration. Raises InvalidArgument for no duration, or no ticket."""
        timeout = os.environ.get("CLONEPOOL_CREATE_TIMEOUT", "")
        return cls(
            endpoint=_text(values.get("endpoint")),
            token=_text(values.get("token")),
            ca_file=_text(values.get("caFile")),
            timeout_s=(
                parse_duration(timeout, field="CLONEPOOL_CREATE_TIMEOUT")
                if timeout
                else DEFAULT_TIMEOUT_S
            ),
            hold=ticket_of(values),
            unknown=tuple(key for key in _ENGINE_KEYS if values.get(key) is UNKNOWN),
        )

    def missing(self) -> Mapping[str, str]:
        """The keys that are needed and not there, each with what it is."""
        environment = client_environment()
        where = self.endpoint or environment.endpoint
        shown = self.token or environment.token or environment.client_cert_file
        if self.unknown or shown or not where:
            return {}
        if all(place.path is not None for place in parse_endpoints(where)):
            return {}
        return {"clonepool:token": _HOW_TO_SHOW_ONESELF}

    def connect(self, *, connect_wait_s: float = 3.0) -> EngineClient:
        """A client that connects on its first call. Raises FailedPrecondition, InvalidArgument."""
        if self.unknown:
            raise FailedPrecondition(
                f"the provider's {' and '.join(self.unknown)} is only known after the update; "
                "update what it hangs on first (`pulumi up --target`), or write it as a constant"
            )
        # checks and diffs need no engine, so they don't pay for a client
        from clonepool.api.client import EngineClient  # noqa: PLC0415

        return EngineClient.connect(
            endpoint=self.endpoint,
            token=self.token,
            ca_file=self.ca_file,
            connect_wait_s=connect_wait_s,
        )


def problems(values: Inputs) -> Iterator[FieldViolation]:
    """What is wrong with a configuration, by key. Keys that are not ours are a program's own."""
    checks: Mapping[str, Callable[[str], object]] = {
        "endpoint": lambda text: text and parse_endpoints(text),
        "token": _printable,
        "hold": chosen_ticket,
    }
    for key in KEYS:
        value = values.get(key)
        if value is None or value is UNKNOWN:
            continue
        if not isinstance(value, str):
            yield FieldViolation(field=key, description="must be a string")
            continue
        try:
            checks.get(key, str)(value)
        except InvalidArgument as error:
            yield FieldViolation(field=key, description=error.violations[0].description)


def ticket_of(values: Inputs) -> str:
    """The ticket of a configuration, else of the environment. Raises InvalidArgument for none."""
    return chosen_ticket(_text(values.get("hold")))


def changed(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """The keys whose values differ; none of them replaces the provider, or all it has made."""
    return tuple(
        key
        for key in _ENGINE_KEYS
        if new.get(key) is UNKNOWN or _text(old.get(key)) != _text(new.get(key))
    )


def _printable(text: str) -> None:
    if not text.isascii() or not text.isprintable():
        raise InvalidArgument.field("token", "holds characters that no header can carry")


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""

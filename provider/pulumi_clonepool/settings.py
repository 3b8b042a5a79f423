"""How to reach the engine: the stack's configuration, then ``CLONEPOOL_*``, then the default."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi

from clonepool.units import parse_duration
from clonepool_resources.lifecycle import DEFAULT_TIMEOUT_S
from clonepool_resources.tickets import chosen_ticket

if TYPE_CHECKING:
    from clonepool.api.client import EngineClient


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stack says about its engine; "" leaves it to the environment.

    ``timeout_s`` is for an import or for filling a pool: CLONEPOOL_CREATE_TIMEOUT, such as
    ``2h``, else 30 minutes. ``hold`` is the ticket that attachments are served by, "" for none.
    """

    endpoint: str = ""
    token: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S
    hold: str = ""

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> Settings:
        """Read ``clonepool:endpoint``, ``:token``, ``:caFile`` and ``:hold`` by ``get``."""
        timeout = os.environ.get("CLONEPOOL_CREATE_TIMEOUT", "")
        return cls(
            endpoint=str(get("clonepool:endpoint") or ""),
            token=str(get("clonepool:token") or ""),
            ca_file=str(get("clonepool:caFile") or ""),
            timeout_s=(
                parse_duration(timeout, field="CLONEPOOL_CREATE_TIMEOUT")
                if timeout
                else DEFAULT_TIMEOUT_S
            ),
            hold=chosen_ticket(str(get("clonepool:hold") or "")),
        )


def stack_settings() -> Settings:
    """What the stack of the running program says. Raises InvalidArgument."""
    return Settings.of(lambda key: pulumi.Config("clonepool").get(key.partition(":")[2]))


@functools.cache
def engine_client(settings: Settings) -> EngineClient:
    """The process's one client of these settings; it connects on its first call."""
    # checks and diffs never get here, so they never pay for opening a channel
    from clonepool.api.client import EngineClient  # noqa: PLC0415

    return EngineClient.connect(
        endpoint=settings.endpoint, token=settings.token, ca_file=settings.ca_file
    )

"""What all calls of one provider process share: the engine that was configured, and the stop."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clonepool.errors import FailedPrecondition
from clonepool_resources.tickets import chosen_ticket
from terraform_clonepool.values import given
from terraform_clonepool.wire import UNKNOWN

if TYPE_CHECKING:
    from clonepool.api.client import EngineClient
    from clonepool_resources.stock import Stock


class Session:
    """One process serves one provider block. Thread-safe once configured.

    ``stop`` is set by Ctrl-C: whoever waits gives up then. ``applying`` is set by the first change:
    what is planned after it was planned before, and is planned again with more of it known.
    ``hold`` is the ticket that attachments are served by, "" for none.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.applying = threading.Event()
        self.hold = ""
        self._settings: dict[str, Any] = {}
        self._lock = threading.Lock()

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Take what the provider block says; "" and null leave it to the environment.

        Opens the client, which connects on its first call. Raises InvalidArgument naming the
        setting that can't be used.
        """
        self._settings = given(settings)
        # unknown in a plan, when nothing is attached
        hold = self._settings.pop("hold", "")
        self.hold = chosen_ticket("" if hold is UNKNOWN else hold)
        if self.is_reachable:
            self.client  # noqa: B018 - a setting that is wrong should be told at once

    @property
    def is_reachable(self) -> bool:
        """Whether the engine's place is known: in a plan it may hang on what is yet to be made."""
        return UNKNOWN not in self._settings.values()

    @property
    def client(self) -> EngineClient:
        """The engine's client. Raises FailedPrecondition while its place is unknown."""
        if not self.is_reachable:
            unknown = [name for name, value in self._settings.items() if value is UNKNOWN]
            raise FailedPrecondition(
                f"the provider's {' and '.join(unknown)} is only known after the apply; apply what "
                "it hangs on first (`terraform apply -target=...`), or write it as a constant"
            )
        with self._lock:
            return self._client

    @functools.cached_property
    def _client(self) -> EngineClient:
        # validating and planning need no engine, so they don't pay for it
        from clonepool.api.client import EngineClient  # noqa: PLC0415

        return EngineClient.connect(**self._settings)

    @property
    def stock(self) -> Stock:
        """What plans may say of the engine's stock."""
        with self._lock:
            return self._stock

    @functools.cached_property
    def _stock(self) -> Stock:
        # only a plan that makes something pays for the engine's messages
        from clonepool.api.client import EngineClient  # noqa: PLC0415
        from clonepool_resources.stock import CONNECT_WAIT_S, Stock  # noqa: PLC0415

        # a client of its own: one that gives an engine up sooner than an apply's does
        connect = functools.cache(
            lambda: EngineClient.connect(**self._settings, connect_wait_s=CONNECT_WAIT_S)
        )
        return Stock(connect, hold=self.hold)

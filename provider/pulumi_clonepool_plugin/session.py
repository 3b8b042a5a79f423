"""What all calls of one plugin process share: the engine, the display, and the stop."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from clonepool_resources.lifecycle import Lifecycle
from clonepool_resources.stock import CONNECT_WAIT_S, Remark, Stock
from clonepool_resources.waiting import Waiting
from pulumi_clonepool_plugin.configuration import Settings
from pulumi_clonepool_plugin.display import Display
from pulumi_clonepool_plugin.kinds import Kind
from pulumi_clonepool_plugin.spelling import text_to_pulumi

if TYPE_CHECKING:
    from clonepool.api.client import EngineClient


class Session:
    """One process serves one provider. Thread-safe.

    ``stop`` is set by Ctrl-C: whoever waits gives up then.
    """

    def __init__(self) -> None:
        self.display = Display()
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._settings = Settings()
        self._ticket: str | None = None
        self._client: EngineClient | None = None
        self._stock = _stock_of(self._settings)

    def attach(self, address: str) -> None:
        """Serve the Pulumi engine at ``address`` from now on; what an earlier one stopped is past.

        A provider that was started by hand (PULUMI_DEBUG_PROVIDERS) serves one engine after
        another.
        """
        self.display.attach(address)
        self.stop.clear()

    def configure(self, settings: Settings) -> None:
        """Take the provider's settings; nothing is connected yet."""
        with self._lock:
            self._settings, self._client = settings, None
            self._stock = _stock_of(settings)

    def bring(self, ticket: str) -> None:
        """The ticket that attachments bring from now on, whatever the settings say.

        Where a provider's settings do not differ, Pulumi configures it with those of the run
        before; and another ticket shall be no difference. What is checked is always this run's.
        """
        with self._lock:
            self._ticket = ticket

    @property
    def client(self) -> EngineClient:
        """The one client of these settings; it connects on its first call."""
        with self._lock:
            if self._client is None:
                self._client = self._settings.connect()
            return self._client

    def lifecycle(self, kind: Kind, *, urn: str, timeout_s: float) -> Lifecycle:
        """The life of one kind; its progress shows beside ``urn``. ``timeout_s`` 0 is ours."""
        waiting = Waiting(
            report=lambda message: self.display.progress(message, urn=urn),
            warn=lambda message: self.display.say(message, urn=urn, is_warning=True),
            stopped=self.stop.is_set,
            # a wait that a Ctrl-C ends at once
            sleep=self._rest,
        )
        return kind.lifecycle(
            client=self.client,
            waiting=waiting,
            timeout_s=timeout_s or self._settings.timeout_s,
            hold=self._settings.hold if self._ticket is None else self._ticket,
        )

    @property
    def stock(self) -> Stock:
        """What previews may say of the engine's stock."""
        with self._lock:
            return self._stock

    def remark(self, remark: Remark | None, *, urn: str) -> None:
        """Show it beside its resource, in Pulumi's spelling."""
        if remark is not None:
            self.display.say(
                text_to_pulumi(remark.text),
                urn="" if remark.is_about_engine else urn,
                is_warning=remark.is_short,
            )

    def _rest(self, seconds: float) -> None:
        self.stop.wait(seconds)


def _stock_of(settings: Settings) -> Stock:
    # a client of its own: one that gives an engine up sooner than an update's does
    connect = functools.cache(lambda: settings.connect(connect_wait_s=CONNECT_WAIT_S))
    return Stock(connect, hold=settings.hold)

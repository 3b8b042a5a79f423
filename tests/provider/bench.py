"""Lifecycles over a real client whose waiting takes no time."""

from __future__ import annotations

from typing import Any

from clonepool.api.client import EngineClient
from clonepool_resources.check import check
from clonepool_resources.lifecycle import Lifecycle
from clonepool_resources.types import Inputs
from clonepool_resources.waiting import Waiting

ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1", "timeouts": {"create": "60s"}}


class Bench:
    """Makes lifecycles whose time passes only in their pauses; keeps what they said."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.now = 0.0
        self.stopped = False

    def sleep(self, pause_s: float) -> None:
        self.now += pause_s

    def make(self, kind: type[Lifecycle], **more: Any) -> Lifecycle:
        waiting = Waiting(
            report=self.lines.append,
            warn=self.warnings.append,
            stopped=lambda: self.stopped,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return kind(client=self.client, waiting=waiting, **more)


def checked(kind: type[Lifecycle], inputs: Inputs) -> dict[str, Any]:
    found = check(kind.resource, inputs, is_unknown=lambda _: False)
    assert not found.failures
    return found.inputs

"""Lines in Pulumi's display, each beside the resource that it is about."""

from __future__ import annotations

import threading
from typing import Final

import grpc

from pulumi_clonepool_plugin.protocol import engine_pb2, engine_pb2_grpc

_PATIENCE_S: Final = 1.0


class Display:
    """Pulumi's engine as a place for messages; one that is gone is no error. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._address = ""
        self._channel: grpc.Channel | None = None

    def attach(self, address: str) -> None:
        """Send what comes from now on to the engine at ``address``; "" keeps it to ourselves."""
        with self._lock:
            if address == self._address:
                return
            if self._channel is not None:
                self._channel.close()
            self._address = address
            self._channel = grpc.insecure_channel(address) if address else None

    def progress(self, message: str, *, urn: str) -> None:
        """A line that the next one replaces."""
        self._log(
            engine_pb2.LogRequest(
                severity=engine_pb2.INFO, urn=urn, message=message, ephemeral=True
            )
        )

    def warning(self, message: str, *, urn: str) -> None:
        """A line that stays."""
        self._log(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    def _log(self, request: engine_pb2.LogRequest) -> None:
        with self._lock:
            channel = self._channel
        if channel is None:
            return
        try:
            engine_pb2_grpc.EngineStub(channel).Log(request, timeout=_PATIENCE_S)
        except (grpc.RpcError, ValueError):
            # a ValueError: closed in between
            return

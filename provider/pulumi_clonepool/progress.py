"""Progress lines, in the status column of Pulumi's display while a resource is made."""

from __future__ import annotations

import functools
import sys
from typing import Any

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


@functools.cache
def _display() -> Any:
    # Pulumi's engine starts a provider with its own address as the last argument
    return engine_pb2_grpc.EngineStub(grpc.insecure_channel(sys.argv[-1]))


def report(message: str) -> None:
    """Show a line until the next one replaces it; a display that is gone is no error."""
    _show(message, severity=engine_pb2.INFO, ephemeral=True)


def warn(message: str) -> None:
    """Show a warning that stays."""
    _show(message, severity=engine_pb2.WARNING, ephemeral=False)


def _show(message: str, *, severity: Any, ephemeral: bool) -> None:
    request = engine_pb2.LogRequest(
        severity=severity, message=f"clonepool: {message}", ephemeral=ephemeral
    )
    try:
        _display().Log(request, timeout=1.0)
    except (grpc.RpcError, ValueError):
        return

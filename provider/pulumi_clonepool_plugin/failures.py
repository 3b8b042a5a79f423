"""Errors as Pulumi takes them: one line, a code that says what is left, and what is half made."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import grpc

from clonepool.api import status
from clonepool.errors import ClonepoolError, FailedPrecondition
from pulumi_clonepool_plugin.spelling import text_to_pulumi

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from pulumi_clonepool_plugin.protocol import provider_pb2

Servicer = TypeVar("Servicer")
Request = TypeVar("Request")
Response = TypeVar("Response")

# Pulumi calls a resource's state unknown after INTERNAL, UNKNOWN and DATA_LOSS. DATA_LOSS is of
# the storage's bytes: what the resource is stays known. A defect may have left anything behind.
_TOLD_OTHERWISE: Final = {grpc.StatusCode.DATA_LOSS: grpc.StatusCode.FAILED_PRECONDITION}


class Unhealthy(FailedPrecondition):
    """It is there, but not as it should be: Pulumi keeps it and tries an update the next time."""

    def __init__(self, found: provider_pb2.ErrorResourceInitFailed) -> None:
        super().__init__("; ".join(found.reasons))
        self.found = found


class KeysMissing(FailedPrecondition):
    """The provider's configuration lacks keys that it needs."""

    def __init__(self, keys: provider_pb2.ConfigureErrorMissingKeys) -> None:
        names = ", ".join(key.name for key in keys.missingKeys)
        super().__init__(f"required configuration keys were missing: {names}")
        self.keys = keys


def one_line(error: ClonepoolError) -> str:
    """An error's message on one line, in Pulumi's spelling, with the fields that it names."""
    return text_to_pulumi(error.one_line())


def answered(
    method: Callable[[Servicer, Request], Response],
) -> Callable[[Servicer, Request, grpc.ServicerContext], Response]:
    """Serve a method: an error of ours ends the call in one line, a defect keeps its traceback."""

    @functools.wraps(method)
    def call(servicer: Servicer, request: Request, context: grpc.ServicerContext) -> Response:
        try:
            return method(servicer, request)
        except ClonepoolError as error:
            code = status.code_of(error)
            _end(context, _TOLD_OTHERWISE.get(code, code), one_line(error), _details(error))
        except Exception as error:  # noqa: BLE001 - told as what it is, and shown
            # Pulumi shows what a plugin writes to stderr
            traceback.print_exc(file=sys.stderr)
            _end(context, grpc.StatusCode.INTERNAL, f"a defect of the provider: {error!r}", ())

    return call


def _details(error: ClonepoolError) -> Sequence[Message]:
    if isinstance(error, Unhealthy):
        return (error.found,)
    return (error.keys,) if isinstance(error, KeysMissing) else ()


def _end(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    details: Sequence[Message],
) -> NoReturn:
    # only a call that fails pays for these imports
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # noqa: PLC0415
    from grpc_status import rpc_status  # noqa: PLC0415

    rich: Any = Status(code=code.value[0], message=message)
    for detail in details:
        rich.details.add().Pack(detail)
    context.abort_with_status(rpc_status.to_status(rich))
    raise AssertionError("abort_with_status does not return")

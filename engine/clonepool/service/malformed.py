"""Bytes that are no message: the caller's mistake, where gRPC alone would say INTERNAL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from clonepool.errors import InvalidArgument


class Malformed:
    """What stands in the place of a request that can't be read."""


def refuse_malformed(request: object) -> None:
    """Raise InvalidArgument for a request that can't be read."""
    if isinstance(request, Malformed):
        text = "these bytes are no message of this RPC; is the caller's version of the API another?"
        raise InvalidArgument.field("request", text)


class ForgivingServer:
    """Takes what the generated code registers and has it get unreadable requests, too."""

    def __init__(self, server: grpc.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same handlers come by the other verb, with their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the service's handlers."""
        forgiving = {name: _forgiving(handler) for name, handler in handlers.items()}
        generic = grpc.method_handlers_generic_handler(service, forgiving)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service, forgiving)


def _forgiving(handler: Any) -> Any:
    make: Any = (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        handler.unary_stream or handler.unary_unary,
        request_deserializer=_reading(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def _reading(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read_or_not(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return Malformed()

    return read_or_not

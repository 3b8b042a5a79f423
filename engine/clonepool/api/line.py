"""One way to an engine: an endpoint and the channel to it, and what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from clonepool.api import status
from clonepool.api.endpoint import Endpoint
from clonepool.api.v1 import engine_pb2_grpc
from clonepool.errors import (
    Cancelled,
    ClonepoolError,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

MESSAGE_LIMIT_BYTES: Final = 16 * 2**20
ENGINE_AWAY: Final = "ENGINE_AWAY"
NO_TLS: Final = "TLS"
Metadata = tuple[tuple[str, str], ...]
_CUT_OFF: Final = ("Socket closed", "Connection reset", "Broken pipe", "keepalive", "ping timeout")
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_metadata_size", 64 * 1024),
    # gRPC's own first wait is 1 s: an engine that restarts in 0.5 s should be found sooner
    ("grpc.initial_reconnect_backoff_ms", 100),
    # how long one connection may take to come about: an engine under load greets late
    ("grpc.min_reconnect_backoff_ms", 3000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)
# where there is another to go to, one that is stopped or cut off is found out in the middle of a
# call: its machine may take bytes for it for long
_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 3000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),
    # a long call sends nothing meanwhile
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The files of a TLS connection; "" where there is none."""

    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""


class Line:
    """One endpoint and its channel; thread-safe. Connects on its first call."""

    def __init__(self, *, endpoint: Endpoint, channel: grpc.Channel) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._stub: Any = engine_pb2_grpc.EngineStub(channel)

    @classmethod
    def open(cls, endpoint: Endpoint, *, keys: Keys, one_of_several: bool) -> Line:
        """A line to an endpoint. Raises InvalidArgument for a file that can't be used."""
        options = _CHANNEL_OPTIONS + (_KEEPALIVE if one_of_several else ())
        return cls(endpoint=endpoint, channel=_open_channel(endpoint, keys, options))

    def call(self, method: str, request: Message, *, timeout_s: float, metadata: Metadata) -> Any:
        """The answer to one RPC, tried once. Raises gRPC's own errors; see ``explain``."""
        return getattr(self._stub, method)(request, timeout=timeout_s, metadata=metadata)

    def stream(self, method: str, request: Message, *, metadata: Metadata) -> Iterator[Any]:
        """The messages of a streaming RPC. Raises gRPC's own errors; see ``explain``."""
        stream = getattr(self._stub, method)(request, metadata=metadata)
        try:
            yield from stream
        finally:
            stream.cancel()

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        self._channel.close()

    def explain(self, rpc_error: grpc.RpcError) -> ClonepoolError:
        """The kind that the engine raised, or what the failure of the way to it means."""
        error = status.from_rpc_error(rpc_error)
        if status.spoken_by_engine(rpc_error):
            return error
        if isinstance(error, Unavailable) or _dropped(error):
            return self._out_of_reach(error.message)
        if isinstance(error, DeadlineExceeded):
            return DeadlineExceeded(
                f"{self.endpoint} gave no answer in time; what was begun goes on, so run it again"
            )
        return error

    def _out_of_reach(self, text: str) -> ClonepoolError:
        if "Permission denied" in text:
            return PermissionDenied(
                f"no right to use {self.endpoint}; run as the engine's user, or set "
                "CLONEPOOL_ENDPOINT to an engine of your own"
            )
        if "handshake" in text.lower() or "CERTIFICATE" in text:
            return Unavailable(
                f"no TLS connection to {self.endpoint} ({text[-120:]}); check CLONEPOOL_CA_FILE "
                "and CLONEPOOL_CLIENT_CERT",
                reason=NO_TLS,
            )
        return engine_away(str(self.endpoint))


def engine_away(places: str) -> Unavailable:
    """That nobody answers there, with the way out."""
    return Unavailable(
        f"no engine answers at {places}; start it with `clonepool serve` or set CLONEPOOL_ENDPOINT",
        reason=ENGINE_AWAY,
    )


def was_cut_off(rpc_error: grpc.RpcError) -> bool:
    """Whether the engine went away with the call under way, rather than before it."""
    error = status.from_rpc_error(rpc_error)
    text = error.message
    broken = isinstance(error, Unavailable) and any(words in text for words in _CUT_OFF)
    return (broken and "failed to connect" not in text) or _dropped(error)


def _dropped(error: ClonepoolError) -> bool:
    """Whether an engine that stops or restarts let the call fall.

    gRPC reports that as CANCELLED; only closing this client's channel looks alike.
    """
    return isinstance(error, Cancelled) and "channel closed" not in error.message.lower()


def _open_channel(
    endpoint: Endpoint, keys: Keys, options: tuple[tuple[str, int], ...]
) -> grpc.Channel:
    if endpoint.path is not None:
        return grpc.insecure_channel(endpoint.target, options=options)
    if bool(keys.client_cert_file) != bool(keys.client_key_file):
        raise InvalidArgument.field(
            "client_cert_file", "a client certificate needs its key: set both or neither"
        )
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(keys.ca_file, field="ca_file"),
        private_key=_read(keys.client_key_file, field="client_key_file"),
        certificate_chain=_read(keys.client_cert_file, field="client_cert_file"),
    )
    return grpc.secure_channel(endpoint.target, credentials, options=options)


def _read(file: str, *, field: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise InvalidArgument.field(field, f"can't read {file}: {problem.strerror}") from None

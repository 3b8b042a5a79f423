"""The client of the engine: one channel, errors as kinds, retries inside the deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from clonepool.api import status
from clonepool.api.endpoint import Endpoint, client_environment, default_endpoint, parse_endpoint
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
_ENGINE_AWAY: Final = "ENGINE_AWAY"
_NO_TLS: Final = "TLS"
_FIRST_BACKOFF_S: Final = 0.05
_LARGEST_BACKOFF_S: Final = 2.0
# an engine that dies under a call may have done what it was asked: it is waited for while it is
# restarted, so that the answer is not lost
_CUT_OFF_WAIT_S: Final = 30.0
_CUT_OFF: Final = ("Socket closed", "Connection reset", "Broken pipe")
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


class EngineClient:
    """Calls an engine's RPCs by name; thread-safe, to be closed (or used in ``with``).

    Every RPC is idempotent, so UNAVAILABLE is tried again with jittered backoff until the call's
    time is over. An engine that can't be reached at all is given up after ``connect_wait_s``, one
    that went away under a call after 30 s.
    """

    def __init__(
        self,
        *,
        channel: grpc.Channel,
        endpoint: Endpoint,
        token: str = "",
        timeout_s: float = 30.0,
        connect_wait_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._stub: Any = engine_pb2_grpc.EngineStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout_s = timeout_s
        self._connect_wait_s = connect_wait_s
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def connect(
        cls,
        *,
        endpoint: str = "",
        token: str = "",
        ca_file: str = "",
        client_cert_file: str = "",
        client_key_file: str = "",
        timeout_s: float = 30.0,
        connect_wait_s: float = 3.0,
    ) -> Self:
        """Open a client; connects on the first call. What is "" comes from ``CLONEPOOL_*``.

        Raises InvalidArgument for an endpoint, a token or a file that can't be used.
        """
        env = client_environment()
        text = endpoint or env.endpoint
        where = parse_endpoint(text) if text else default_endpoint()
        channel = _open_channel(
            endpoint=where,
            ca_file=ca_file or env.ca_file,
            client_cert_file=client_cert_file or env.client_cert_file,
            client_key_file=client_key_file or env.client_key_file,
        )
        return cls(
            channel=channel,
            endpoint=where,
            token=_checked_token(token or env.token),
            timeout_s=timeout_s,
            connect_wait_s=connect_wait_s,
        )

    def call(self, method: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """The answer to one RPC, such as ``call("GetPool", GetRequest(name="web"))``.

        Blocks for up to ``timeout_s`` (default: the client's). Raises the kinds of
        ``clonepool.errors``; Unavailable names the endpoint when no engine answers there.
        """
        rpc = getattr(self._stub, method)
        began = self._clock()
        deadline = began + (self._timeout_s if timeout_s is None else timeout_s)
        given_up = began + self._connect_wait_s
        for attempt in range(1_000_000):
            try:
                left_s = max(deadline - self._clock(), 0.001)
                return rpc(request, timeout=left_s, metadata=self._metadata)
            except grpc.RpcError as rpc_error:
                error = self._explain(rpc_error)
                if _cut_off(status.from_rpc_error(rpc_error)):
                    given_up = self._clock() + _CUT_OFF_WAIT_S
            self._back_off(error=error, attempt=attempt, given_up=given_up, deadline=deadline)
        raise error

    def watch(self, method: str, request: Message) -> Iterator[Any]:
        """The messages of a streaming RPC as they come; closing the iterator ends the call.

        Not retried: the caller knows what it saw last. Raises as ``call`` does.
        """
        stream = getattr(self._stub, method)(request, metadata=self._metadata)
        try:
            yield from stream
        except grpc.RpcError as rpc_error:
            raise self._explain(rpc_error) from None
        finally:
            stream.cancel()

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _back_off(
        self, *, error: ClonepoolError, attempt: int, given_up: float, deadline: float
    ) -> None:
        """Wait before the next try, or raise ``error`` when there is to be none."""
        if not isinstance(error, Unavailable) or error.reason == _NO_TLS:
            raise error
        away = error.reason == _ENGINE_AWAY
        last = min(deadline, given_up) if away else deadline
        step_s = min(_FIRST_BACKOFF_S * 2 ** min(attempt, 10), _LARGEST_BACKOFF_S)
        delay_s = step_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        delay_s = max(delay_s, error.retry_after_s or 0.0)
        if self._clock() + delay_s >= last:
            raise error
        self._sleep(delay_s)

    def _explain(self, rpc_error: grpc.RpcError) -> ClonepoolError:
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
                reason=_NO_TLS,
            )
        return Unavailable(
            f"no engine answers at {self.endpoint}; start it with `clonepool serve` or set "
            "CLONEPOOL_ENDPOINT",
            reason=_ENGINE_AWAY,
        )


def _cut_off(error: ClonepoolError) -> bool:
    """Whether the engine went away with the call under way, rather than before it."""
    text = error.message
    broken = isinstance(error, Unavailable) and any(words in text for words in _CUT_OFF)
    return (broken and "failed to connect" not in text) or _dropped(error)


def _dropped(error: ClonepoolError) -> bool:
    """Whether an engine that stops or restarts let the call fall.

    gRPC reports that as CANCELLED; only closing this client's channel looks alike.
    """
    return isinstance(error, Cancelled) and "channel closed" not in error.message.lower()


def _checked_token(token: str) -> str:
    # a header holds printable ASCII only; gRPC would fail with a message that shows the token
    if not token.isascii() or not token.isprintable():
        raise InvalidArgument.field("token", "must be printable ASCII")
    return token


def _open_channel(
    *, endpoint: Endpoint, ca_file: str, client_cert_file: str, client_key_file: str
) -> grpc.Channel:
    if endpoint.path is not None:
        return grpc.insecure_channel(endpoint.target, options=_CHANNEL_OPTIONS)
    if bool(client_cert_file) != bool(client_key_file):
        raise InvalidArgument.field(
            "client_cert_file", "a client certificate needs its key: set both or neither"
        )
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(ca_file, field="ca_file"),
        private_key=_read(client_key_file, field="client_key_file"),
        certificate_chain=_read(client_cert_file, field="client_cert_file"),
    )
    return grpc.secure_channel(endpoint.target, credentials, options=_CHANNEL_OPTIONS)


def _read(file: str, *, field: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise InvalidArgument.field(field, f"can't read {file}: {problem.strerror}") from None

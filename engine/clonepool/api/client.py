"""The client of the engine: errors as kinds, retries inside the deadline, one node or another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from clonepool.api.endpoint import (
    Endpoint,
    client_environment,
    default_endpoint,
    parse_endpoints,
)
from clonepool.api.line import ENGINE_AWAY, NO_TLS, Keys, Line, was_cut_off
from clonepool.api.refusals import Refusals
from clonepool.errors import DeadlineExceeded, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from google.protobuf.message import Message

_FIRST_BACKOFF_S: Final = 0.05
_LARGEST_BACKOFF_S: Final = 2.0
# an engine that dies under a call may have done what it was asked: it is waited for while it is
# restarted, so that the answer is not lost
_CUT_OFF_WAIT_S: Final = 30.0


class EngineClient:
    """Calls an engine's RPCs by name; thread-safe, to be closed (or used in ``with``).

    ``lines`` lead to nodes of one engine. Every RPC is idempotent, so UNAVAILABLE is tried again:
    at once at the next node, and with jittered backoff when all were asked, until the call's time
    is over. Whoever answered is asked first from then on. An engine of which no node can be reached
    at all is given up after ``connect_wait_s``, one that went away under a call after 30 s.
    """

    def __init__(
        self,
        *,
        lines: Sequence[Line],
        token: str = "",
        timeout_s: float = 30.0,
        connect_wait_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lines = tuple(lines)
        # one that answered last; threads may set it at once, and any of their answers will do
        self._first = 0
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

        ``endpoint`` may name several nodes of one engine, separated by commas. Raises
        InvalidArgument for an endpoint, a token or a file that can't be used.
        """
        env = client_environment()
        text = endpoint or env.endpoint
        places = parse_endpoints(text) if text else (default_endpoint(),)
        keys = Keys(
            ca_file=ca_file or env.ca_file,
            client_cert_file=client_cert_file or env.client_cert_file,
            client_key_file=client_key_file or env.client_key_file,
        )
        several = len(places) > 1
        return cls(
            lines=[Line.open(place, keys=keys, one_of_several=several) for place in places],
            token=_checked_token(token or env.token),
            timeout_s=timeout_s,
            connect_wait_s=connect_wait_s,
        )

    @property
    def endpoint(self) -> Endpoint:
        """Where the node listens that answered last; before an answer the first of all."""
        return self._lines[self._first].endpoint

    def call(self, method: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """The answer to one RPC, such as ``call("GetPool", GetRequest(name="web"))``.

        Blocks for up to ``timeout_s`` (default: the client's). Raises the kinds of
        ``clonepool.errors``; Unavailable names every endpoint when no engine answers.
        """
        began = self._clock()
        deadline = began + (self._timeout_s if timeout_s is None else timeout_s)
        given_up = began + self._connect_wait_s
        for attempt in range(1_000_000):
            refusals = Refusals()
            for number in self._order():
                try:
                    return self._ask(number, method, request, deadline=deadline)
                except grpc.RpcError as rpc_error:
                    self._note(refusals, number, rpc_error)
            if refusals.was_cut_off:
                given_up = self._clock() + _CUT_OFF_WAIT_S
            error = refusals.error()
            self._back_off(error=error, attempt=attempt, given_up=given_up, deadline=deadline)
        raise error

    def _order(self) -> list[int]:
        """Whoever answered last, then the others."""
        count = len(self._lines)
        return [(self._first + step) % count for step in range(count)]

    def _ask(self, number: int, method: str, request: Message, *, deadline: float) -> Any:
        left_s = max(deadline - self._clock(), 0.001)
        line = self._lines[number]
        answer = line.call(method, request, timeout_s=left_s, metadata=self._metadata)
        self._first = number
        return answer

    def _note(self, refusals: Refusals, number: int, rpc_error: grpc.RpcError) -> None:
        """Note why a node is of no use for now. Raises what is about the request, or the time."""
        line = self._lines[number]
        error = line.explain(rpc_error)
        if isinstance(error, (DeadlineExceeded, Unavailable)):
            self._pass_over(number)
        refusals.add(line.endpoint, error, cut_off=was_cut_off(rpc_error))

    def _pass_over(self, number: int) -> None:
        """Ask another node first, unless one answered already in another thread."""
        if self._first == number:
            self._first = (number + 1) % len(self._lines)

    def watch(self, method: str, request: Message) -> Iterator[Any]:
        """The messages of a streaming RPC as they come; closing the iterator ends the call.

        Not retried: the caller knows what it saw last. Raises as ``call`` does; after Unavailable
        the next node is asked.
        """
        number = self._first
        line = self._lines[number]
        try:
            yield from line.stream(method, request, metadata=self._metadata)
        except grpc.RpcError as rpc_error:
            error = line.explain(rpc_error)
            if isinstance(error, Unavailable):
                self._pass_over(number)
            raise error from None

    def close(self) -> None:
        """Close the channels; calls in flight are cancelled."""
        for line in self._lines:
            line.close()

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
        self, *, error: Unavailable, attempt: int, given_up: float, deadline: float
    ) -> None:
        """Wait before the next round, or raise ``error`` when there is to be none."""
        if error.reason == NO_TLS:
            raise error
        away = error.reason == ENGINE_AWAY
        last = min(deadline, given_up) if away else deadline
        step_s = min(_FIRST_BACKOFF_S * 2 ** min(attempt, 10), _LARGEST_BACKOFF_S)
        delay_s = step_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        delay_s = max(delay_s, error.retry_after_s or 0.0)
        if self._clock() + delay_s >= last:
            raise error
        self._sleep(delay_s)


def _checked_token(token: str) -> str:
    # a header holds printable ASCII only; gRPC would fail with a message that shows the token
    if not token.isascii() or not token.isprintable():
        raise InvalidArgument.field("token", "must be printable ASCII")
    return token

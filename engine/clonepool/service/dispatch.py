"""What stands between gRPC and a handler, put around each one once, at registration.

No gRPC interceptor is used: one costs every call a chain of Python frames, and the no-op path
has to stay lean.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import grpc

from clonepool.api import status
from clonepool.errors import ClonepoolError, CommandError, DeadlineExceeded, Internal, Unavailable
from clonepool.service.malformed import refuse_malformed

Handler = Callable[[Any], Any]
StreamHandler = Callable[[Any, grpc.ServicerContext], Iterator[Any]]
# Raises Unauthenticated for a caller who may not call.
Authenticate = Callable[[grpc.ServicerContext], None]

log: Final = logging.getLogger("clonepool.service")
_STARTING_RETRY_S: Final = 0.2


class Gate:
    """Whether calls are let through: not while the engine starts, and not while it drains."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._draining = threading.Event()

    def open(self) -> None:
        """Let calls through."""
        self._open.set()

    def drain(self) -> None:
        """Let no new call through."""
        self._draining.set()

    def draining(self) -> bool:
        """Whether the engine is shutting down."""
        return self._draining.is_set()

    def check(self) -> None:
        """Raise Unavailable, with a hint when to try again, unless calls are let through."""
        if self._draining.is_set():
            raise Unavailable("the engine is shutting down", reason="DRAINING")
        if not self._open.is_set():
            raise Unavailable(
                "the engine is starting; try again",
                reason="STARTING",
                retry_after_s=_STARTING_RETRY_S,
            )


class Dispatcher:
    """Puts the gate, authentication, error mapping and logging around handlers."""

    def __init__(self, *, gate: Gate, authenticate: Authenticate | None) -> None:
        self._gate = gate
        self._authenticate = authenticate

    def unary(self, *, method: str, handler: Handler) -> Callable[[Any, grpc.ServicerContext], Any]:
        """A handler as gRPC calls it."""

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            began = time.perf_counter()
            try:
                self._admit(context)
                refuse_malformed(request)
                answer = handler(request)
            except Exception as error:  # noqa: BLE001 - the edge: all become a status
                _fail(method=method, error=error, began=began, context=context)
            if log.isEnabledFor(logging.DEBUG):
                _log_call(method=method, code="OK", began=began)
            return answer

        return call

    def stream(
        self, *, method: str, handler: StreamHandler
    ) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
        """A streaming handler as gRPC calls it."""

        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            began = time.perf_counter()
            try:
                self._admit(context)
                refuse_malformed(request)
                yield from handler(request, context)
            except Exception as error:  # noqa: BLE001 - the edge: all become a status
                _fail(method=method, error=error, began=began, context=context)

        return call

    def _admit(self, context: grpc.ServicerContext) -> None:
        if self._authenticate is not None:
            self._authenticate(context)
        self._gate.check()
        left_s = context.time_remaining()
        if left_s is not None and left_s <= 0:
            # it stood in the queue for too long: nobody waits for the answer any more
            raise DeadlineExceeded("the call's time was over before the engine came to it")


def _fail(
    *, method: str, error: Exception, began: float, context: grpc.ServicerContext
) -> NoReturn:
    if not isinstance(error, ClonepoolError) or isinstance(error, (CommandError, Internal)):
        log.error("%s failed", method, exc_info=error)
    code = status.code_of(error)
    _log_call(method=method, code=code.name, began=began)
    context.abort_with_status(status.to_status(error))


def _log_call(*, method: str, code: str, began: float) -> None:
    # never the request: it may hold secrets
    log.debug("%s %s %.1f ms", method, code, (time.perf_counter() - began) * 1000)

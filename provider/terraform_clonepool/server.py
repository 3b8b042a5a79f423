"""The plugin server: gRPC on a Unix socket of our own, announced by go-plugin's handshake line."""

from __future__ import annotations

import os
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

import grpc

from terraform_clonepool.certificate import get_certificate

_PROTOCOL: Final = 6
_LIMIT_BYTES: Final = 256 * 2**20
# Terraform calls as many at once as its -parallelism says (10); one waits for a replica each
_THREADS: Final = 128
_PARENT_POLL_S: Final = 1.0
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _LIMIT_BYTES),
    ("grpc.max_send_message_length", _LIMIT_BYTES),
)


def serve(*, announce: TextIO) -> None:
    """Serve until Terraform says to shut down, or is gone.

    ``announce`` gets the one line of the handshake. The socket lies in a folder that only this
    user enters; with TLS, Terraform also knows that it speaks with who wrote the line.
    """
    # a Ctrl-C in a terminal reaches us too; Terraform says by StopProvider what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # no Event: a handler that sets one while its own thread begins to wait for it waits for ever
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.put(None))
    done = threading.Event()
    server = grpc.server(ThreadPoolExecutor(max_workers=_THREADS), options=_OPTIONS)
    server.add_generic_rpc_handlers((_LateProvider(), *_plugin_services(ended, done)))
    with tempfile.TemporaryDirectory(prefix="clonepool-tf-") as folder:
        path = Path(folder) / "provider.sock"
        certificate = _listen(server, f"unix:{path}")
        server.start()
        announce.write(f"1|{_PROTOCOL}|unix|{path}|grpc|{certificate}\n")
        announce.flush()
        _wait(ended)
        done.set()
        server.stop(grace=0.2).wait()


class _LateProvider(grpc.GenericRpcHandler):
    """The provider's RPCs, imported after the handshake: Terraform connects in the meantime."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._problem = ""
        threading.Thread(target=self._load, daemon=True).start()

    def service(
        self, call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if not call_details.method.startswith("/tfplugin6.Provider/"):
            return None
        self._ready.wait()
        if self._problem:
            return grpc.unary_unary_rpc_method_handler(self._refuse)
        return self._handlers.get(call_details.method)

    def _load(self) -> None:
        try:
            from terraform_clonepool.service import Provider  # noqa: PLC0415 - see the class

            for name, method, taken, given in Provider().methods():
                self._handlers[f"/tfplugin6.Provider/{name}"] = _handler(method, taken, given)
        except Exception as error:
            # else each call would only be called unimplemented
            self._problem = f"the provider can't start: {type(error).__name__}: {error}"
            raise
        finally:
            self._ready.set()

    def _refuse(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, self._problem)


def _handler(
    method: Callable[[Any], Any], taken: type[Any], given: type[Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        lambda request, _context: method(request),
        request_deserializer=taken.FromString,
        response_serializer=given.SerializeToString,
    )


def _plugin_services(
    ended: queue.SimpleQueue[None], done: threading.Event
) -> Iterator[grpc.GenericRpcHandler]:
    """go-plugin's own: the order to end, and a stream for output that we never send."""

    def shut_down(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        ended.put(None)
        return b""

    def stream_output(_request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        done.wait()
        return iter(())

    yield grpc.method_handlers_generic_handler(
        "plugin.GRPCController", {"Shutdown": grpc.unary_unary_rpc_method_handler(shut_down)}
    )
    yield grpc.method_handlers_generic_handler(
        "plugin.GRPCStdio", {"StreamStdio": grpc.unary_stream_rpc_method_handler(stream_output)}
    )


def _listen(server: grpc.Server, address: str) -> str:
    """Open the port; gives what the handshake says of its certificate.

    grpcio can't ask for go-plugin's client certificate alone, which is no authority: so it is the
    folder's mode that keeps others out.
    """
    if not os.environ.get("PLUGIN_CLIENT_CERT"):
        server.add_insecure_port(address)
        return ""
    certificate = get_certificate()
    pair = (certificate.key.encode(), certificate.certificate.encode())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    return certificate.handshake_form


def _wait(ended: queue.SimpleQueue[None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # else Terraform was killed: don't linger
        with suppress(queue.Empty):
            ended.get(timeout=_PARENT_POLL_S)
            return

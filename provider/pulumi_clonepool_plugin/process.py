"""The plugin's process: Pulumi starts it, reads its port, and ends it."""

from __future__ import annotations

import queue
import signal
import sys
from concurrent import futures
from typing import Final

import grpc

from pulumi_clonepool_plugin.protocol import provider_pb2_grpc
from pulumi_clonepool_plugin.servicer import ClonepoolProvider
from pulumi_clonepool_plugin.session import Session

# a create may wait for minutes: as many as a large `--parallel` may wait at once. Threads are made
# as they are needed
_THREADS: Final = 256
# Pulumi waits 5 s after its interrupt before it kills
_GRACE_S: Final = 4.0
_MESSAGE_LIMIT_BYTES: Final = 400 * 2**20


def run() -> int:
    """Serve until told to stop.

    The first line on stdout is the port; the last word of the command line, if there is one, is
    the address of Pulumi's engine.
    """
    session = Session()
    # no Event: a handler that sets one while its own thread begins to wait for it waits for ever
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: ended.put(number))
    if len(sys.argv) > 1 and not sys.argv[-1].startswith("-"):
        session.display.attach(sys.argv[-1])
    server, port = serve(session)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    ended.get()
    # a create that waits deletes what it began, and answers, before its time is up
    session.stop.set()
    server.stop(grace=_GRACE_S).wait()
    return 0


def serve(session: Session) -> tuple[grpc.Server, int]:
    """Serve the protocol on a free port of the loopback address; gives the port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="call"),
        options=[("grpc.max_receive_message_length", _MESSAGE_LIMIT_BYTES)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(ClonepoolProvider(session), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port

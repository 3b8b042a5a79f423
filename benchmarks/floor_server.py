"""The floor over gRPC, in a process of its own: an RPC that commits, maps a LUN, and that is all.

`python -m benchmarks.floor_server FOLDER SOCKET` listens, prints a line, and ends when its
standard input does. Requests and answers are bytes: a number (an attachment's, or how many targets
to export), and nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from benchmarks.floor import open_floor

SERVICE: Final = "clonepool.bench.Floor"
# as many as the engine's own
_THREADS: Final = 64


def main() -> int:
    """Serve until standard input ends."""
    folder, socket = sys.argv[1:]
    with open_floor(Path(folder)) as floor:
        server = grpc.server(ThreadPoolExecutor(_THREADS))
        methods = {
            "Export": _unary(floor.export_more),
            "Attach": _unary(floor.attach),
            "Release": _unary(floor.release),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        print("serving", flush=True)
        sys.stdin.read()
        server.stop(grace=None).wait()
    return 0


def _unary(operation: Callable[[int], None]) -> grpc.RpcMethodHandler[bytes, bytes]:
    def call(request: bytes, _context: grpc.ServicerContext) -> bytes:
        operation(int(request))
        return b""

    return grpc.unary_unary_rpc_method_handler(call)


if __name__ == "__main__":
    sys.exit(main())

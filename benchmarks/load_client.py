"""The callers of the gRPC benchmark, in a process of their own: their work is not the engine's.

`python -m benchmarks.load_client ENGINE_ENDPOINT FLOOR_SOCKET POOL` reads a JSON order a line,
such as {"verb": "attach", "side": "engine", "callers": 8, "first": 0, "count": 48}, and answers
each with the times as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from benchmarks.floor_server import SERVICE
from benchmarks.rounds import burst
from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb


class EngineSide:
    """Attachments of an engine, by number, through the client that is shipped."""

    def __init__(self, client: EngineClient, *, pool: str) -> None:
        self._client = client
        self._pool = pool
        self._ids: dict[int, str] = {}

    def attach(self, number: int) -> None:
        """Attach a server of its own; a replica must be ready."""
        name = f"{self._pool}-{number}"
        server = pb.ServerSpec(name=name, initiator=f"iqn.2026-01.example:{name}")
        spec = pb.AttachmentSpec(name=name, pool=self._pool, inline_server=server)
        request = pb.CreateAttachmentRequest(spec=spec, request_token=name)
        made = self._client.call("CreateAttachment", request)
        if not made.warm:
            raise RuntimeError(f"attachment {name} had to wait: the pool was empty")
        self._ids[number] = made.id

    def release(self, number: int) -> None:
        """Release it."""
        self._client.call("DeleteAttachment", pb.DeleteAttachmentRequest(id=self._ids[number]))


class FloorSide:
    """The floor's RPCs, without anything around them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._export: Any = channel.unary_unary(f"/{SERVICE}/Export")
        self._attach: Any = channel.unary_unary(f"/{SERVICE}/Attach")
        self._release: Any = channel.unary_unary(f"/{SERVICE}/Release")

    def export(self, count: int) -> None:
        """Export more targets."""
        self._export(str(count).encode())

    def attach(self, number: int) -> None:
        """Commit and grant."""
        self._attach(str(number).encode())

    def release(self, number: int) -> None:
        """Commit, revoke and unexport."""
        self._release(str(number).encode())


def main() -> int:
    """Answer orders until standard input ends."""
    endpoint, socket, pool = sys.argv[1:]
    with (
        EngineClient.connect(endpoint=endpoint, timeout_s=120) as client,
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        engine, floor = EngineSide(client, pool=pool), FloorSide(channel)
        verbs: dict[tuple[str, str], Callable[[int], None]] = {
            ("engine", "attach"): engine.attach,
            ("engine", "release"): engine.release,
            ("floor", "attach"): floor.attach,
            ("floor", "release"): floor.release,
        }
        for line in sys.stdin:
            order = json.loads(line)
            if order["verb"] == "export":
                floor.export(order["count"])
                print("{}", flush=True)
            else:
                print(json.dumps(_answer(verbs, order)), flush=True)
    return 0


def _answer(
    verbs: Mapping[tuple[str, str], Callable[[int], None]], order: Mapping[str, Any]
) -> dict[str, Any]:
    done = burst(
        verbs[order["side"], order["verb"]],
        callers=order["callers"],
        first=order["first"],
        count=order["count"],
    )
    return {"elapsed_s": done.elapsed_s, "latencies_s": list(done.latencies_s)}


if __name__ == "__main__":
    sys.exit(main())

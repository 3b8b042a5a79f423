"""Bytes that are no message are the caller's mistake, not a defect of the engine's."""

from __future__ import annotations

import grpc
import pytest

from clonepool.api import status
from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import InvalidArgument
from clonepool.service.server import EngineServer

# field 1, a text of five bytes, of which there are two
CUT_SHORT = b"\x0a\x05ab"


def send(server: EngineServer, method: str, data: bytes) -> bytes:
    """The answer's bytes; of a stream the first message."""
    path = f"/clonepool.v1.Engine/{method}"
    with grpc.insecure_channel(server.endpoint.target) as channel:
        if method == "WatchEvents":
            return next(channel.unary_stream(path, bytes, bytes)(data, timeout=10))
        return channel.unary_unary(path, bytes, bytes)(data, timeout=10)


@pytest.mark.parametrize("method", ["GetPool", "CreateImage", "GetEngineInfo", "WatchEvents"])
def test_unreadable_bytes_are_refused_in_words(
    server: EngineServer, client: EngineClient, method: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        send(server, method, CUT_SHORT)

    error = status.from_rpc_error(refused.value)
    assert isinstance(error, InvalidArgument)
    assert ["request"] == [violation.field for violation in error.violations]
    assert client.call("GetEngineInfo", pb.GetEngineInfoRequest()).version


def test_a_field_of_a_later_version_is_no_mistake(server: EngineServer) -> None:
    later = pb.GetEngineInfoRequest().SerializeToString() + b"\xfa\x3f\x01x"

    assert pb.EngineInfo.FromString(send(server, "GetEngineInfo", later)).version

"""The server's life on a Unix socket: who may use it, when it serves, how it ends."""

from __future__ import annotations

import logging
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clonepool.api import status
from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.api.v1 import engine_pb2_grpc
from clonepool.config import Settings
from clonepool.errors import (
    ClonepoolError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    Unavailable,
)
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "clonepool.v1.Engine"


def health_of(endpoint: str) -> int:
    with grpc.insecure_channel(endpoint.replace("unix://", "unix:")) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        return int(stub.Check(request, timeout=5, wait_for_ready=True).status)


def first_answer(endpoint: str) -> ClonepoolError:
    """What an engine says, without the client's own patience."""
    with grpc.insecure_channel(endpoint.replace("unix://", "unix:")) as channel:
        stub = engine_pb2_grpc.EngineStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetEngineInfo(pb.GetEngineInfoRequest(), timeout=10)
    return status.from_rpc_error(refused.value)


def test_only_the_engines_user_may_use_the_socket(server: EngineServer, socket_path: Path) -> None:
    assert stat.S_ISSOCK(socket_path.stat().st_mode)
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700


def test_the_socket_goes_with_the_server(
    engine: FakeEngine, settings: Settings, socket_path: Path
) -> None:
    server = make_server(engine, settings)
    server.start()

    server.drain(grace_s=0)

    assert not socket_path.exists()
    assert server.wait(timeout_s=0)


def test_a_dead_engines_socket_is_taken_over(
    engine: FakeEngine, settings: Settings, socket_path: Path
) -> None:
    socket_path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    server = make_server(engine, settings)

    server.start()

    with EngineClient.connect(endpoint=settings.listen) as client:
        assert client.call("GetEngineInfo", pb.GetEngineInfoRequest()).node == "node1"
    server.drain(grace_s=0)


def test_a_living_engines_socket_is_left_to_it(
    server: EngineServer, settings: Settings, client: EngineClient
) -> None:
    second = make_server(FakeEngine(), settings)

    with pytest.raises(FailedPrecondition, match=r"an engine answers at unix://.* already"):
        second.start()

    assert client.call("GetEngineInfo", pb.GetEngineInfoRequest()).node == "node1"


def test_a_file_in_the_sockets_place_is_not_deleted(
    engine: FakeEngine, settings: Settings, socket_path: Path
) -> None:
    socket_path.parent.mkdir()
    socket_path.write_text("precious")

    with pytest.raises(FailedPrecondition, match="is no socket"):
        make_server(engine, settings).start()

    assert socket_path.read_text() == "precious"


def test_while_the_engine_starts_calls_are_told_to_try_again(
    engine: FakeEngine, settings: Settings
) -> None:
    """Health says NOT_SERVING; a patient client gets its answer once the engine is up."""
    engine.may_start.clear()
    server = make_server(engine, settings)
    with ThreadPoolExecutor(2) as threads:
        starting = threads.submit(server.start)
        assert health_of(settings.listen) == NOT_SERVING
        early = first_answer(settings.listen)
        with EngineClient.connect(endpoint=settings.listen) as client:
            patient = threads.submit(client.call, "GetEngineInfo", pb.GetEngineInfoRequest())
            engine.may_start.set()
            assert patient.result(10).node == "node1"
        starting.result(10)

    assert isinstance(early, Unavailable)
    assert (early.reason, early.retry_after_s) == ("STARTING", 0.2)
    assert health_of(settings.listen) == SERVING
    server.drain(grace_s=0)


def test_an_engine_that_does_not_start_stops_serving(
    engine: FakeEngine, settings: Settings, socket_path: Path
) -> None:
    engine.start_failure = FailedPrecondition("the state is from a newer version")

    with pytest.raises(FailedPrecondition, match="newer version"):
        make_server(engine, settings).start()

    assert not socket_path.exists()


class SlowPools:
    """Pools whose ``get`` waits for the test."""

    def __init__(self, engine: FakeEngine) -> None:
        self.entered = threading.Event()
        self.may_answer = threading.Event()
        self._get = engine.pools.get
        engine.pools.get = self.get  # type: ignore[method-assign]

    def get(self, **keywords: object) -> object:
        self.entered.set()
        self.may_answer.wait(10)
        return self._get(**keywords)  # type: ignore[arg-type]


def test_a_drain_lets_calls_in_flight_end_and_new_ones_fail(
    engine: FakeEngine, settings: Settings
) -> None:
    slow = SlowPools(engine)
    server = make_server(engine, settings)
    server.start()
    spec = pb.PoolSpec(name="web", master_image="web", image_version=1)
    with EngineClient.connect(endpoint=settings.listen, connect_wait_s=0) as client:
        client.call("CreatePool", pb.CreatePoolRequest(spec=spec, request_token="t"))
        with ThreadPoolExecutor(2) as threads:
            in_flight = threads.submit(client.call, "GetPool", pb.GetRequest(name="web"))
            assert slow.entered.wait(5)
            drained = threads.submit(server.drain, grace_s=10)
            while True:
                try:
                    client.call("GetEngineInfo", pb.GetEngineInfoRequest(), timeout_s=0.5)
                except Unavailable:
                    break
            slow.may_answer.set()
            assert in_flight.result(10).spec.name == "web"
            drained.result(10)


def test_a_call_that_stood_in_the_queue_for_too_long_is_not_begun(
    engine: FakeEngine, settings: Settings, server: EngineServer, client: EngineClient
) -> None:
    slow = SlowPools(engine)

    with pytest.raises(DeadlineExceeded, match="gave no answer in time"):
        client.call("GetPool", pb.GetRequest(name="web"), timeout_s=0.2)

    slow.may_answer.set()


def test_a_defect_is_logged_with_its_traceback_and_answered_without(
    engine: FakeEngine, client: EngineClient, caplog: pytest.LogCaptureFixture
) -> None:
    engine.servers.fail = ValueError("row 17 holds s3cret")

    with pytest.raises(Internal) as told:
        client.call("GetServer", pb.GetRequest(name="web1"))

    assert told.value.message == ("internal error (ValueError); the engine's log has the details")
    assert caplog.records[0].exc_info is not None
    assert "row 17" in caplog.text


def test_requests_are_logged_without_their_content(
    engine: FakeEngine, client: EngineClient, caplog: pytest.LogCaptureFixture
) -> None:
    chap = pb.ChapSpec(mode="given", username="acme", secret="hunter2hunter2")
    spec = pb.AttachmentSpec(name="a", pool="web", server="web1", chap=chap)

    with caplog.at_level(logging.DEBUG, logger="clonepool"):
        client.call(
            "CreateAttachment", pb.CreateAttachmentRequest(spec=spec, request_token="t0ken")
        )
        with pytest.raises(NotFound):
            client.call("GetServer", pb.GetRequest(name="web1"))

    assert "CreateAttachment OK" in caplog.text
    assert "GetServer NOT_FOUND" in caplog.text
    assert "hunter2" not in caplog.text
    assert "t0ken" not in caplog.text


def test_reflection_lists_the_service(server: EngineServer) -> None:
    with grpc.insecure_channel(server.endpoint.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(iter(stub.ServerReflectionInfo(iter([asked]), timeout=5)))

    assert SERVICE in [service.name for service in answer.list_services_response.service]

"""TCP: always TLS, and a token or a client certificate; paths only from configured roots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.config import TlsSettings
from clonepool.errors import (
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from clonepool.service.server import EngineServer
from tests.service.certificates import Certificates, make_certificates
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

TOKEN = "a-token-of-the-test"
Serve = Callable[..., EngineServer]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def serve(engine: FakeEngine, tmp_path: Path, pki: Certificates) -> Iterator[Serve]:
    """Start a server on a free port of 127.0.0.1; it is stopped at the end."""
    running = []

    def start(*, client_ca: bool = False, **more: Any) -> EngineServer:
        tls = TlsSettings(
            certificate=pki.certificate, key=pki.key, client_ca=pki.ca if client_ca else None
        )
        settings = make_settings(listen="tcp://127.0.0.1:0", state_dir=tmp_path, tls=tls, **more)
        server = make_server(engine, settings)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.drain(grace_s=0)


def node(server: EngineServer, pki: Certificates, **more: Any) -> str:
    """Ask over TLS; the endpoint has the port that was free."""
    with EngineClient.connect(
        endpoint=str(server.endpoint), ca_file=str(pki.ca), connect_wait_s=0, **more
    ) as client:
        answer = client.call("GetEngineInfo", pb.GetEngineInfoRequest(), timeout_s=5)
        return str(answer.node)


def test_the_token_lets_in(serve: Serve, pki: Certificates) -> None:
    assert node(serve(token=TOKEN), pki, token=TOKEN) == "node1"


@pytest.mark.parametrize("token", ["", "another-token", TOKEN + "x"])
def test_another_token_does_not(serve: Serve, pki: Certificates, token: str) -> None:
    with pytest.raises(Unauthenticated, match="CLONEPOOL_TOKEN"):
        node(serve(token=TOKEN), pki, token=token)


def test_a_client_certificate_lets_in(serve: Serve, pki: Certificates) -> None:
    server = serve(client_ca=True)
    pair = {
        "client_cert_file": str(pki.client_certificate),
        "client_key_file": str(pki.client_key),
    }

    assert node(server, pki, **pair) == "node1"
    with pytest.raises(Unavailable):
        node(server, pki)


def test_with_both_configured_both_are_needed(serve: Serve, pki: Certificates) -> None:
    server = serve(client_ca=True, token=TOKEN)
    pair = {
        "client_cert_file": str(pki.client_certificate),
        "client_key_file": str(pki.client_key),
    }

    assert node(server, pki, token=TOKEN, **pair) == "node1"
    with pytest.raises(Unauthenticated):
        node(server, pki, **pair)


def test_an_unknown_authority_is_named_as_the_cause(
    serve: Serve, pki: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path / "other")
    server = serve(token=TOKEN)

    with pytest.raises(Unavailable, match=r"no TLS connection .* CLONEPOOL_CA_FILE"):
        node(server, other, token=TOKEN)


def test_plain_text_is_not_answered(serve: Serve) -> None:
    with grpc.insecure_channel(serve(token=TOKEN).endpoint.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=5)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("lacking", ["tls", "token"])
def test_an_open_port_is_refused_at_the_start(
    engine: FakeEngine, tmp_path: Path, pki: Certificates, lacking: str
) -> None:
    """TCP without TLS, or with nothing that tells callers apart, never listens."""
    tls = TlsSettings(certificate=pki.certificate, key=pki.key) if lacking == "token" else None
    settings = make_settings(listen="tcp://127.0.0.1:0", state_dir=tmp_path, tls=tls)

    with pytest.raises(InvalidArgument) as refused:
        make_server(engine, settings).start()

    assert refused.value.violations[0].field == lacking
    assert not engine.started.is_set()


def test_a_certificate_that_cannot_be_read_is_named(
    engine: FakeEngine, tmp_path: Path, pki: Certificates
) -> None:
    tls = TlsSettings(certificate=tmp_path / "absent.crt", key=pki.key)
    settings = make_settings(listen="tcp://127.0.0.1:0", state_dir=tmp_path, tls=tls, token=TOKEN)

    with pytest.raises(InvalidArgument, match=r"absent\.crt: No such file") as refused:
        make_server(engine, settings).start()

    assert refused.value.violations[0].field == "tls.certificate"


def test_a_port_in_use_is_named(serve: Serve, tmp_path: Path, pki: Certificates) -> None:
    taken = str(serve(token=TOKEN).endpoint)
    tls = TlsSettings(certificate=pki.certificate, key=pki.key)
    settings = make_settings(listen=taken, state_dir=tmp_path, tls=tls, token=TOKEN)

    with pytest.raises(Unavailable, match=f"can't listen on {taken}"):
        make_server(FakeEngine(), settings).start()


def test_health_needs_no_token_and_reflection_does(serve: Serve, pki: Certificates) -> None:
    credentials = grpc.ssl_channel_credentials(pki.ca.read_bytes())
    with grpc.secure_channel(serve(token=TOKEN).endpoint.target, credentials) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            next(iter(reflection.ServerReflectionInfo(iter([asked]), timeout=5)))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def create_image(server: EngineServer, pki: Certificates, source: str) -> None:
    spec = pb.ImageSpec(name="web", writable=pb.PortionSpec(source=source))
    with EngineClient.connect(
        endpoint=str(server.endpoint), ca_file=str(pki.ca), token=TOKEN
    ) as client:
        client.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token="t"))


def test_without_import_roots_nothing_is_imported_from_paths(
    serve: Serve, engine: FakeEngine, pki: Certificates
) -> None:
    server = serve(token=TOKEN)

    with pytest.raises(PermissionDenied, match=r"/etc/shadow.*import_roots"):
        create_image(server, pki, "/etc/shadow")
    assert engine.images.calls == []

    create_image(server, pki, "https://example.org/web.raw")
    assert [verb for verb, _ in engine.images.calls] == ["create"]


def test_with_import_roots_the_controller_decides(
    serve: Serve, engine: FakeEngine, pki: Certificates
) -> None:
    create_image(serve(token=TOKEN, import_roots=(Path("/srv"),)), pki, "/srv/web.raw")

    assert [verb for verb, _ in engine.images.calls] == ["create"]

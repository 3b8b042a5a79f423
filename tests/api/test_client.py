"""The client against real servers: retries, deadlines, and what it says when nobody answers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from clonepool.api.client import EngineClient
from clonepool.api.endpoint import Endpoint, parse_endpoint, parse_endpoints
from clonepool.api.line import Line
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import InvalidArgument, NotFound, Unavailable
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

INFO = pb.GetEngineInfoRequest()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cp-") as name:
        yield Path(name)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def start_server(engine: FakeEngine, folder: Path) -> EngineServer:
    settings = make_settings(listen=f"unix://{folder}/engine.sock", state_dir=folder)
    return make_server(engine, settings)


@pytest.fixture
def server(engine: FakeEngine, folder: Path) -> Iterator[EngineServer]:
    running = start_server(engine, folder)
    running.start()
    yield running
    running.drain(grace_s=0)


class Clock:
    """A clock that only sleeping moves; ``naps`` are the waits between tries."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def line_to(place: Endpoint) -> Line:
    return Line(endpoint=place, channel=grpc.insecure_channel(place.target))


def client_on(endpoint: str, clock: Clock, **more: Any) -> EngineClient:
    return EngineClient(
        lines=[line_to(place) for place in parse_endpoints(endpoint)],
        clock=clock.read,
        sleep=clock.sleep,
        **more,
    )


def test_a_kind_raised_by_the_engine_is_caught_here(server: EngineServer) -> None:
    with (
        EngineClient.connect(endpoint=str(server.endpoint)) as client,
        pytest.raises(NotFound, match="pool web is not there") as missing,
    ):
        client.call("GetPool", pb.GetRequest(name="web"))

    assert missing.value.reason == "NOT_FOUND"


def test_no_engine_is_said_with_the_way_out(folder: Path) -> None:
    clock = Clock()
    nowhere = f"unix://{folder}/none.sock"
    with client_on(nowhere, clock) as client, pytest.raises(Unavailable) as away:
        client.call("GetEngineInfo", INFO)

    assert away.value.message == (
        f"no engine answers at unix://{folder}/none.sock; start it with `clonepool serve` or set "
        "CLONEPOOL_ENDPOINT"
    )
    assert 1.0 < sum(clock.naps) < 3.0


def test_without_a_wait_no_engine_is_said_at_once(folder: Path) -> None:
    clock = Clock()
    nowhere = f"unix://{folder}/none.sock"
    with client_on(nowhere, clock, connect_wait_s=0) as client, pytest.raises(Unavailable):
        client.call("GetEngineInfo", INFO)

    assert clock.naps == []


def test_an_engine_that_starts_meanwhile_is_found(engine: FakeEngine, folder: Path) -> None:
    server = start_server(engine, folder)
    endpoint = f"unix://{folder}/engine.sock"
    first_try = threading.Event()

    class Starting(Clock):
        def sleep(self, seconds: float) -> None:
            if not first_try.is_set():
                first_try.set()
                server.start()

    with client_on(endpoint, Starting()) as client:
        assert client.call("GetEngineInfo", INFO).node == "node1"
    assert first_try.is_set()
    server.drain(grace_s=0)


# a server that dies of the first call, whatever it has done by then
DYING = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import grpc

die = grpc.unary_unary_rpc_method_handler(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
server = grpc.server(ThreadPoolExecutor(1))
service = "clonepool.v1.Engine"
handlers = grpc.method_handlers_generic_handler(service, {"GetEngineInfo": die})
server.add_generic_rpc_handlers((handlers,))
server.add_insecure_port(sys.argv[1])
server.start()
print("serving", flush=True)
server.wait_for_termination()
"""


@pytest.fixture
def dying_engine(folder: Path) -> Iterator[str]:
    """An endpoint whose engine serves until somebody calls it."""
    argv = [sys.executable, "-c", DYING, f"unix:{folder}/engine.sock"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert b"serving\n" == dying.stdout.readline()
        yield f"unix://{folder}/engine.sock"
        dying.kill()


def test_an_engine_that_dies_under_a_call_is_waited_for(
    dying_engine: str, engine: FakeEngine, folder: Path
) -> None:
    """It may have done what it was asked, so the answer is worth more than a few seconds."""
    server = start_server(engine, folder)
    channel = grpc.insecure_channel(parse_endpoint(dying_engine).target)

    class Restarting(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if sum(self.naps) - seconds < 10 <= sum(self.naps):
                server.start()
                # this clock runs ahead of gRPC's own pauses
                grpc.channel_ready_future(channel).result(timeout=30)

    clock = Restarting()
    with EngineClient(
        lines=[Line(endpoint=parse_endpoint(dying_engine), channel=channel)],
        clock=clock.read,
        sleep=clock.sleep,
    ) as client:
        assert client.call("GetEngineInfo", INFO).node == "node1"
    server.drain(grace_s=0)


def test_an_engine_that_dies_under_a_call_and_stays_away_is_given_up(dying_engine: str) -> None:
    clock = Clock()
    with (
        client_on(dying_engine, clock, timeout_s=60) as client,
        pytest.raises(Unavailable, match="no engine answers"),
    ):
        client.call("GetEngineInfo", INFO)

    assert 25 < sum(clock.naps) < 30


def test_unavailable_is_tried_again_after_the_hint(
    server: EngineServer, engine: FakeEngine
) -> None:
    clock = Clock()
    engine.servers.fail = Unavailable("tgtd is away", retry_after_s=4.0)
    with client_on(str(server.endpoint), clock) as client, pytest.raises(NotFound):
        client.call("GetServer", pb.GetRequest(name="web1"))

    assert clock.naps == [4.0]
    assert [verb for verb, _ in engine.servers.calls] == ["get", "get"]


def test_a_hint_beyond_the_deadline_is_not_waited_for(
    server: EngineServer, engine: FakeEngine
) -> None:
    clock = Clock()
    engine.servers.fail = Unavailable("tgtd is away", retry_after_s=60.0)
    with (
        client_on(str(server.endpoint), clock) as client,
        pytest.raises(Unavailable, match="tgtd is away"),
    ):
        client.call("GetServer", pb.GetRequest(name="web1"), timeout_s=30)

    assert clock.naps == []


def test_what_cannot_be_mended_by_trying_is_not_tried_again(
    server: EngineServer, engine: FakeEngine
) -> None:
    clock = Clock()
    with client_on(str(server.endpoint), clock) as client, pytest.raises(NotFound):
        client.call("GetServer", pb.GetRequest(name="web1"))

    assert clock.naps == []


def test_one_client_serves_many_threads(server: EngineServer) -> None:
    with (
        EngineClient.connect(endpoint=str(server.endpoint)) as client,
        ThreadPoolExecutor(32) as threads,
    ):
        answers = list(threads.map(lambda _: client.call("GetEngineInfo", INFO), range(200)))

    assert {answer.node for answer in answers} == {"node1"}


def test_the_environment_names_the_endpoint(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", str(server.endpoint))

    with EngineClient.connect() as client:
        assert client.call("GetEngineInfo", INFO).node == "node1"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"endpoint": "engine:7443"}, "endpoint"),
        ({"endpoint": "tcp://engine:1", "ca_file": "/not/there"}, "ca_file"),
        ({"endpoint": "tcp://engine:1", "client_cert_file": "/x"}, "client_cert_file"),
        ({"endpoint": "unix:///x", "token": "new\nline"}, "token"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(
    arguments: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        EngineClient.connect(**arguments)  # type: ignore[arg-type]

    assert refused.value.violations[0].field == field


@pytest.mark.root
def test_a_socket_of_another_user_is_said_to_be_one(server: EngineServer, folder: Path) -> None:
    """A newcomer without rights is told so, not that no engine runs."""
    folder.chmod(0o755)
    program = (
        "import os\n"
        "from clonepool.api.client import EngineClient\n"
        "from clonepool.api.v1 import engine_pb2 as pb\n"
        "from clonepool.errors import PermissionDenied\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"client = EngineClient.connect(endpoint={str(server.endpoint)!r})\n"
        "try: client.call('GetEngineInfo', pb.GetEngineInfoRequest())\n"
        "except PermissionDenied as denied: print(denied)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )

    assert done.stdout.startswith(f"no right to use {server.endpoint}"), done.stderr


def test_importing_the_client_loads_nothing_heavy() -> None:
    """The provider side and the command line start with this import."""
    program = (
        "import sys, clonepool.api.client\n"
        "heavy = {'sqlmodel', 'sqlalchemy', 'pydantic', 'grpc_status', 'rich', 'cyclopts',\n"
        "         'google.rpc', 'clonepool.engine', 'clonepool.store', 'clonepool.config'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == "[]\n"

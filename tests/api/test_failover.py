"""A client with several endpoints: nodes of one engine that die, hang, drain or aren't there."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import (
    AlreadyExists,
    DeadlineExceeded,
    NotFound,
    Unavailable,
)
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

INFO = pb.GetEngineInfoRequest()
ROOT = Path(__file__).parents[2]
NODE = """
import sys
from pathlib import Path
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

folder = Path(sys.argv[1])
settings = make_settings(listen=f"unix://{folder}/engine.sock", state_dir=folder)
server = make_server(FakeEngine(), settings)
server.start()
print("serving", flush=True)
server.wait()
"""


class Node:
    """A node of an engine in this process: what it is asked is in ``engine``."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        self.endpoint = f"unix://{folder}/engine.sock"
        settings = make_settings(listen=self.endpoint, state_dir=folder)
        self.server: EngineServer = make_server(self.engine, settings)
        self.server.start()

    @property
    def asked(self) -> int:
        return len(self.engine.servers.calls)


class NodeProcess:
    """A node of an engine in a process of its own, to be killed or stopped."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"unix://{folder}/engine.sock"
        argv = [sys.executable, "-c", NODE, str(folder)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT)
        assert self.process.stdout is not None
        assert b"serving\n" == self.process.stdout.readline()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def make_folder() -> Iterator[Callable[[], Path]]:
    with ExitStack() as stack:
        yield lambda: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cp-")))


@pytest.fixture
def node(make_folder: Callable[[], Path]) -> Iterator[Node]:
    made = Node(make_folder())
    yield made
    made.server.drain(grace_s=0)


@pytest.fixture
def neighbour(make_folder: Callable[[], Path]) -> Iterator[Node]:
    made = Node(make_folder())
    yield made
    made.server.drain(grace_s=0)


@pytest.fixture
def frail(make_folder: Callable[[], Path]) -> Iterator[NodeProcess]:
    made = NodeProcess(make_folder())
    yield made
    made.end()


def nowhere(make_folder: Callable[[], Path]) -> str:
    return f"unix://{make_folder()}/none.sock"


def client_of(*endpoints: str, **more: float) -> EngineClient:
    return EngineClient.connect(endpoint=", ".join(endpoints), **more)


def get_server(client: EngineClient) -> None:
    with pytest.raises(NotFound):
        client.call("GetServer", pb.GetRequest(name="web1"))


def test_a_node_that_is_not_there_is_skipped(node: Node, make_folder: Callable[[], Path]) -> None:
    """Also by a command, which gives an engine that is away no time."""
    with client_of(nowhere(make_folder), node.endpoint, connect_wait_s=0) as client:
        assert client.call("GetEngineInfo", INFO).node == "node1"

        assert node.endpoint == str(client.endpoint)


def test_who_answered_is_asked_first_from_then_on(node: Node, neighbour: Node) -> None:
    with client_of(node.endpoint, neighbour.endpoint) as client:
        for _ in range(3):
            get_server(client)

    assert (3, 0) == (node.asked, neighbour.asked)


def test_the_client_stays_with_the_node_that_it_went_to(
    node: Node, neighbour: Node, make_folder: Callable[[], Path]
) -> None:
    with client_of(node.endpoint, neighbour.endpoint) as client:
        get_server(client)
        node.server.drain(grace_s=0)
        get_server(client)
        back = Node(Path(node.endpoint.removeprefix("unix://")).parent)
        try:
            get_server(client)
        finally:
            back.server.drain(grace_s=0)

        assert neighbour.endpoint == str(client.endpoint)
    assert (1, 2, 0) == (node.asked, neighbour.asked, back.asked)


def test_a_node_that_was_killed_is_left_for_the_next(frail: NodeProcess, node: Node) -> None:
    with client_of(frail.endpoint, node.endpoint, connect_wait_s=0) as client:
        client.call("GetEngineInfo", INFO)
        frail.process.kill()
        frail.process.wait()

        assert client.call("GetEngineInfo", INFO).node == "node1"
        assert node.endpoint == str(client.endpoint)


def test_a_call_that_a_node_dies_under_is_asked_again_of_the_next(
    frail: NodeProcess, node: Node
) -> None:
    """Every RPC can be repeated: what the dead node did of it, the other finds in the rows."""
    with client_of(frail.endpoint, node.endpoint) as client:
        client.call("GetEngineInfo", INFO)
        frail.process.send_signal(signal.SIGSTOP)
        killer = threading.Timer(0.5, frail.process.kill)
        killer.start()

        assert client.call("GetEngineInfo", INFO).node == "node1"
        killer.join()
        assert node.endpoint == str(client.endpoint)


@pytest.mark.parametrize("connected", [True, False])
def test_a_node_that_hangs_is_left_within_the_calls_time(
    frail: NodeProcess, node: Node, connected: bool
) -> None:
    """One that is stopped keeps its connections: what it does not answer is a look if it lives."""
    with client_of(frail.endpoint, node.endpoint) as client:
        if connected:
            client.call("GetEngineInfo", INFO)
        frail.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()

        assert client.call("GetEngineInfo", INFO, timeout_s=30).node == "node1"
        assert time.monotonic() - began < 20


def test_a_call_that_takes_long_is_not_taken_for_a_hanging_node(
    node: Node, neighbour: Node
) -> None:
    """Looking whether a node lives is no reason for it, or for the client, to end the call."""
    slow = threading.Event()
    find = node.engine.servers.get

    def get_slowly(**arguments: object) -> object:
        slow.wait(14)
        return find(**arguments)

    node.engine.servers.get = get_slowly  # type: ignore[method-assign, assignment]
    with client_of(node.endpoint, neighbour.endpoint) as client:
        get_server(client)

    assert 0 == neighbour.asked


def test_a_call_whose_time_is_over_goes_to_the_next_node_next_time(
    frail: NodeProcess, node: Node
) -> None:
    with client_of(frail.endpoint, node.endpoint) as client:
        client.call("GetEngineInfo", INFO)
        frail.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded, match=f"{frail.endpoint} gave no answer in time"):
            client.call("GetEngineInfo", INFO, timeout_s=0.3)

        assert client.call("GetEngineInfo", INFO, timeout_s=5).node == "node1"


def test_who_was_asked_before_the_time_was_over_is_named(
    frail: NodeProcess, make_folder: Callable[[], Path]
) -> None:
    gone = nowhere(make_folder)
    with client_of(frail.endpoint, gone) as client:
        client.call("GetEngineInfo", INFO)
        client._first = 1
        frail.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded) as late:
            client.call("GetEngineInfo", INFO, timeout_s=1)

    assert str(late.value).endswith(f"; asked before it: {gone}: no engine answers")


def test_what_a_node_refuses_for_now_is_asked_of_the_next(node: Node, neighbour: Node) -> None:
    node.engine.servers.fail = Unavailable("tgtd is away", retry_after_s=60)
    with client_of(node.endpoint, neighbour.endpoint) as client:
        get_server(client)

    assert (1, 1) == (node.asked, neighbour.asked)


def test_what_is_wrong_with_a_request_is_told_by_the_first_node(
    node: Node, neighbour: Node
) -> None:
    node.engine.servers.fail = AlreadyExists("server web1 exists")
    with (
        client_of(node.endpoint, neighbour.endpoint) as client,
        pytest.raises(AlreadyExists),
    ):
        client.call("GetServer", pb.GetRequest(name="web1"))

    assert (1, 0) == (node.asked, neighbour.asked)


def test_an_engine_without_a_node_is_said_with_every_endpoint(
    make_folder: Callable[[], Path],
) -> None:
    places = [nowhere(make_folder) for _ in range(3)]
    with client_of(*places, connect_wait_s=0) as client, pytest.raises(Unavailable) as away:
        client.call("GetEngineInfo", INFO)

    assert "ENGINE_AWAY" == away.value.reason
    assert str(away.value) == (
        f"no engine answers at {places[0]}, {places[1]}, {places[2]}; start it with "
        "`clonepool serve` or set CLONEPOOL_ENDPOINT"
    )


def test_each_node_says_why_it_can_not_answer(
    node: Node, neighbour: Node, make_folder: Callable[[], Path]
) -> None:
    """The one that can answer soonest says when to ask again."""
    gone = nowhere(make_folder)
    node.engine.servers.fail = Unavailable("tgtd is away", retry_after_s=60)
    neighbour.engine.servers.fail = Unavailable("too busy", reason="BUSY", retry_after_s=40)
    with (
        client_of(gone, node.endpoint, neighbour.endpoint) as client,
        pytest.raises(Unavailable) as away,
    ):
        client.call("GetServer", pb.GetRequest(name="web1"), timeout_s=30)

    assert str(away.value) == (
        f"no node of the engine can answer now: {gone}: no engine answers; {node.endpoint}: "
        f"tgtd is away; {neighbour.endpoint}: too busy"
    )
    assert ("BUSY", 40) == (away.value.reason, away.value.retry_after_s)


def test_a_stream_that_broke_goes_on_at_the_next_node(frail: NodeProcess, node: Node) -> None:
    """Whoever watches asks again from what it saw last; the client knows where."""
    with client_of(frail.endpoint, node.endpoint) as client:
        client.call("GetEngineInfo", INFO)
        frail.process.kill()
        frail.process.wait()
        with pytest.raises(Unavailable):
            list(client.watch("WatchEvents", pb.ListEventsRequest()))

        assert node.endpoint == str(client.endpoint)


@pytest.mark.root
def test_a_node_that_one_may_not_use_is_an_error(node: Node, neighbour: Node) -> None:
    """It is there: to go to another would hide that something is set up wrong."""
    program = (
        "import os\n"
        "from clonepool.api.client import EngineClient\n"
        "from clonepool.api.v1 import engine_pb2 as pb\n"
        "from clonepool.errors import PermissionDenied\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"client = EngineClient.connect(endpoint='{node.endpoint},{neighbour.endpoint}')\n"
        "try: client.call('GetEngineInfo', pb.GetEngineInfoRequest())\n"
        "except PermissionDenied as denied: print(denied)\n"
    )
    for each in (node, neighbour):
        Path(each.endpoint.removeprefix("unix://")).parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )

    assert done.stdout.startswith(f"no right to use {node.endpoint}"), done.stderr

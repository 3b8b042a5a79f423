"""What goes wrong is one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.service.server import EngineServer
from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine

CLONEPOOL = Path(sys.executable).parent / "clonepool"


def clonepool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLONEPOOL, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("command", [("status",), ("pool", "list"), ("events", "--follow")])
def test_no_engine_is_exit_code_3(folder: Path, command: tuple[str, ...]) -> None:
    nowhere = f"unix://{folder}/none.sock"

    done = clonepool(*command, CLONEPOOL_ENDPOINT=nowhere)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"error: no engine answers at {nowhere}; start it with `clonepool serve` or set "
        "CLONEPOOL_ENDPOINT\n"
    )


@pytest.mark.parametrize("before", [True, False])
def test_the_endpoint_can_be_an_option_of_any_command(server: EngineServer, before: bool) -> None:
    option = ("--endpoint", str(server.endpoint))
    words = (*option, "status", "--json") if before else ("pool", "list", *option)

    done = clonepool(*words, CLONEPOOL_ENDPOINT="unix:///nowhere")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("statsu",), 'Did you mean "status"? '),
        (("pool", "shwo"), "See: clonepool pool --help"),
        (("pool", "show"), "See: clonepool pool show --help"),
        (("pool", "create", "web"), "--image"),
        (("pool", "list", "--jsno"), "--jsno"),
        (("pool", "create", "web", "--image", "i", "--min-ready", "many"), "many"),
        (("pool", "create", "web", "--image", "i", "--min-ready", "1.5"), "2147483647. See: "),
        (("pool", "create", "web", "--image", "i", "--max-replicas", "3000000000"), "--max-repl"),
        (("attach", "a", "--pool", "p"), "--server: give --server, --initiator or --select"),
        (("attach", "a", "--pool", "p", "--server", "s", "--select", "a=b"), "--select"),
        (("attach", "a", "--pool", "p", "--server", "s", "--system-user", "acme"), "customer/NAME"),
        (("image", "create", "i", "--writable", "/x", "--writable-size", "1"), "--writable-size"),
        (("image", "create", "i", "--writable", "/x", "--label", "x"), "key=value"),
        (("image", "create", "UPPER", "--writable", "/x"), "name: 'UPPER' is not a name"),
        (("--endpoint", "engine:1", "status"), "'engine:1' is not an endpoint"),
        (("--endpoint",), "is not an endpoint"),
        (("orphan", "delete", "default"), "NAME: name at least one object"),
        (("serve", "--workers", "0x"), "workers"),
        (("serve", "--listen", "localhost:1"), "--listen"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    if arguments == ("--endpoint",):
        arguments = ("status", *arguments)
    code, out, error = run(*arguments)

    assert (2, "") == (code, out)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_what_the_engine_refuses_is_exit_code_1(run: Run) -> None:
    assert run("pool", "show", "web") == (1, "", "error: pool web is not there\n")


def test_a_defect_is_one_line_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine
) -> None:
    monkeypatch.setattr("clonepool.cli.output.print_json", lambda _: {}["oops"])

    code, _, error = run("pool", "list", "--json")

    assert code == 1
    assert error == "error: KeyError: 'oops' (a defect; CLONEPOOL_DEBUG=1 shows where)\n"


def test_whoever_reads_the_output_may_go(server: EngineServer, engine: FakeEngine) -> None:
    """`clonepool ... | head -1` ends without a complaint."""
    for _ in range(5000):
        engine.events.add("pool/web")
    with subprocess.Popen(
        [CLONEPOOL, "events"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert (complaint, process.wait(timeout=20)) == ("", 141)


def test_a_full_disk_is_one_line(server: EngineServer) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [CLONEPOOL, "status"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


@pytest.mark.parametrize("arguments", [("--help",), (), ("pool",), ("pool", "create", "--help")])
def test_help_is_no_error(arguments: tuple[str, ...]) -> None:
    done = clonepool(*arguments)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: clonepool" in done.stdout


def test_the_version(run: Run) -> None:
    assert run("--version") == (0, "clonepool 0.1.0\n", "")


def test_a_missing_extra_is_named_with_the_way_to_install_it(tmp_path: Path) -> None:
    """Someone who installed the client side only is told what `serve` needs."""
    program = (
        "import sys; sys.modules['sqlmodel'] = None; sys.modules['alembic'] = None\n"
        "from clonepool.cli import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "CLONEPOOL_STATE_DIR": str(tmp_path)},
    )

    assert done.returncode == 1
    assert "pip install 'clonepool[engine]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("status",), ("pool", "list"), ("attachment", "list")])
def test_a_read_loads_nothing_of_the_engine(server: EngineServer, command: tuple[str, ...]) -> None:
    heavy = (
        "sqlmodel", "sqlalchemy", "alembic", "pydantic", "rich.table", "clonepool.engine",
        "clonepool.store", "clonepool.service", "clonepool.controllers", "clonepool.config",
    )  # fmt: skip
    program = (
        f"import sys; from clonepool.cli import main; main({list(command)!r})\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stderr == "\n"


def test_status_loads_no_parser_of_command_lines(server: EngineServer) -> None:
    """It is what monitors ask: 0.1 s of imports less."""
    program = (
        "import sys; from clonepool.cli import main; main(['status', '--json'])\n"
        "print('cyclopts' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stderr == "False\n"


def test_the_asyncio_side_of_grpc_is_loaded_on_use_only(server: EngineServer) -> None:
    """A read that succeeds never needs it; reading an error's details does, and works."""
    program = (
        "import sys; from clonepool.cli import main\n"
        "main(['status', '--json']); print('grpc.aio._channel' in sys.modules, file=sys.stderr)\n"
        "main(['pool', 'show', 'web']); import grpc.aio\n"
        "print(grpc.aio.Call.__name__, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stderr.splitlines() == [
        "False",
        "error: pool web is not there",
        "Call",
    ]

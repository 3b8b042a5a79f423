"""`clonepool serve` as a process: it announces itself, serves, and drains on a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb

CLONEPOOL = Path(sys.executable).parent / "clonepool"
Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Start an engine that keeps everything below ``folder``; it is ended by its pid."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [CLONEPOOL, "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HOME": str(folder),
                "CLONEPOOL_STATE_DIR": f"{folder}/state",
                "CLONEPOOL_LISTEN": f"unix://{folder}/engine.sock",
            },
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=20)


def announcement(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline() or process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_serves_and_ends_cleanly_on_a_signal(
    serve: Serve, folder: Path, number: signal.Signals
) -> None:
    process = serve("--node", "n1")

    said = announcement(process)
    with EngineClient.connect(endpoint=f"unix://{folder}/engine.sock") as client:
        info = client.call("GetEngineInfo", pb.GetEngineInfoRequest())
    process.send_signal(number)
    out, error = process.communicate(timeout=30)

    assert said == (
        f"clonepool 0.1.0 serving on unix://{folder}/engine.sock "
        f"(pid {process.pid}, node n1, state in {folder}/state)\n"
    )
    assert info.node == "n1"
    assert (process.returncode, out) == (0, ""), error
    assert "Traceback" not in error
    assert not (folder / "engine.sock").exists()


@pytest.mark.slow
def test_a_second_engine_on_the_same_state_is_refused(serve: Serve, folder: Path) -> None:
    first = serve()
    announcement(first)

    second = serve("--listen", f"unix://{folder}/second.sock")
    _, error = second.communicate(timeout=60)

    assert second.returncode == 1
    assert error.startswith("error: ")
    assert str(first.pid) in error
    assert error.count("\n") == 1


def test_a_socket_in_use_is_refused_and_the_state_let_go(serve: Serve, folder: Path) -> None:
    announcement(serve())

    second = serve("--state-dir", f"{folder}/other")
    _, error = second.communicate(timeout=60)

    assert second.returncode == 1
    assert error == (
        f"error: an engine answers at unix://{folder}/engine.sock already; stop it or choose "
        "another `listen`\n"
    )


def test_its_log_can_be_json_lines(serve: Serve) -> None:
    process = serve("--log-format", "json", "--log-level", "debug")
    announcement(process)

    process.terminate()
    _, error = process.communicate(timeout=30)

    lines = [json.loads(line) for line in error.splitlines()]
    assert all(line["logger"].startswith("clonepool") for line in lines)


def test_bad_settings_are_one_line_and_exit_code_2(serve: Serve, folder: Path) -> None:
    file = folder / "clonepool.toml"
    file.write_text('stat_dir = "/x"\n')

    process = serve("--config", str(file))
    _, error = process.communicate(timeout=30)

    assert process.returncode == 2
    assert error == f"error: {file}: stat_dir is no setting; did you mean state_dir?\n"


WITHOUT = """
import sys
sys.modules["psycopg"] = None
from clonepool.cli import main
raise SystemExit(main())
"""


def test_without_postgresql_s_driver_it_names_the_extra(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "serve", "--database", "postgresql://u@h/db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HOME": str(folder), "CLONEPOOL_STATE_DIR": f"{folder}/state"},
    )
    assert 1 == done.returncode
    assert "pip install 'clonepool[engine,postgres]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_on_sqlite_never_loads_postgresql_s_driver(folder: Path) -> None:
    program = (
        "import sys, pathlib, clonepool.engine, clonepool.service.server; "
        "from clonepool.store.state import State; "
        "State(folder=pathlib.Path(sys.argv[1]), node='n', clock=None).close(); "
        "print('psycopg' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
    )
    assert ("False\n", "") == (done.stdout, done.stderr)

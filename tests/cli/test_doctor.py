"""`clonepool doctor` looks at the real machine, and says how to mend what it lacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clonepool.cli.checks import FAIL, OK, WARN, Check
from clonepool.cli.checks_machine import check_machine
from clonepool.cli.checks_tools import check_tools
from clonepool.cli.doctor import run_checks
from clonepool.config import DriverSettings
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

CLONEPOOL = Path(sys.executable).parent / "clonepool"


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


def settings(folder: Path, **options: str) -> Any:
    """One file storage with these options, in ``folder``."""
    made = make_settings(listen=f"unix://{folder}/engine.sock", state_dir=folder / "state")
    made.storages["default"] = DriverSettings(name="default", driver="file", options=options)
    return made


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, here and where system programs lie."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("clonepool.cli.checks_tools._MORE_PATH", ())
    return tmp_path


def test_what_is_not_installed_is_a_warning_with_the_way_to_install_it(bare_path: Path) -> None:
    found = by_name(check_tools())

    assert found["python"].level == found["packages"].level == OK
    for name in ("tgtd", "initiator", "qemu-img", "debugfs", "pulumi"):
        assert found[name].level == WARN
        assert found[name].mend


def test_what_is_installed_tells_its_version(bare_path: Path) -> None:
    tgtd = bare_path / "tgtd"
    tgtd.write_text("#!/bin/sh\necho 1.0.85\n")
    tgtd.chmod(0o755)

    assert by_name(check_tools())["tgtd"] == Check(
        name="tgtd", level=OK, detail=f"1.0.85 at {tgtd}"
    )


def test_a_storage_is_tried_where_it_will_lie(folder: Path) -> None:
    """Also before its folder is there; nothing is left behind."""
    found = by_name(check_machine(settings(folder)))

    assert found["state folder"].detail.endswith("(will be made)")
    assert found["storage default"].level in (OK, WARN)
    assert str(folder / "state/storage/default") in found["storage default"].detail
    assert list(folder.iterdir()) == []


def test_too_little_space_fails(folder: Path) -> None:
    check = by_name(check_machine(settings(folder, reserve="8000PiB")))["space default"]

    assert check.level == FAIL
    assert "nothing can be cloned" in check.detail


def test_a_port_in_use_is_named(folder: Path) -> None:
    wanted = settings(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wanted.fabrics["iscsi"] = DriverSettings(
            name="iscsi", driver="iscsi", options={"portal": f"127.0.0.1:{port}"}
        )
        check = by_name(check_machine(wanted))["port of fabric iscsi"]

    assert check.level == WARN
    assert "Address already in use" in check.detail
    assert by_name(check_machine(wanted))["port of fabric iscsi"].level == OK


def test_a_running_engine_tells_of_its_drivers(server: EngineServer) -> None:
    found = by_name(run_checks())

    assert found["engine"].level == OK
    assert found["engine's fabric iscsi"].level == FAIL
    assert "tgtd is away" in found["engine's fabric iscsi"].detail


def test_a_running_engine_tells_of_orphans_and_faulty_volumes(server: EngineServer) -> None:
    found = by_name(run_checks())

    assert found["engine's orphans"].level == WARN
    assert "without a row: 1, held of them: 0; such as vol-" in found["engine's orphans"].detail
    assert found["engine's orphans"].mend == "clonepool orphan list"
    assert found["engine's volumes"].level == WARN
    assert "clonepool scrub run web" in found["engine's volumes"].mend


@pytest.fixture
def other_server(folder: Path) -> Iterator[EngineServer]:
    other = FakeEngine()
    settings = make_settings(listen=f"unix://{folder}/other.sock", state_dir=folder)
    running = make_server(other, settings)
    running.start()
    yield running
    running.drain(grace_s=0)


def test_each_of_several_nodes_is_asked(
    server: EngineServer, other_server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = f"{server.endpoint}.gone"
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", f"{server.endpoint},{gone},{other_server.endpoint}")
    found = by_name(run_checks())

    for place in (server.endpoint, other_server.endpoint):
        assert OK == found[f"node at {place}"].level
    assert WARN == found[f"node at {gone}"].level
    assert f"no engine answers at {gone};" in found[f"node at {gone}"].detail


def test_a_node_of_another_engine_fails(
    server: EngineServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FakeEngine()
    other.engine_id = "engine-2"
    settings = make_settings(listen=f"unix://{folder}/other.sock", state_dir=folder)
    stranger = make_server(other, settings)
    stranger.start()
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", f"{server.endpoint},{stranger.endpoint}")
    try:
        check = by_name(run_checks())[f"node at {stranger.endpoint}"]
    finally:
        stranger.drain(grace_s=0)

    assert FAIL == check.level
    assert "it is of engine engine-2, those before it are of engine-1" == check.detail


def test_one_endpoint_is_asked_once(server: EngineServer) -> None:
    assert [] == [name for name in by_name(run_checks()) if name.startswith("node at")]


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLONEPOOL, "doctor", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "HOME": str(folder),
            "CLONEPOOL_STATE_DIR": str(folder),
            "CLONEPOOL_ENDPOINT": f"unix://{folder}/none.sock",
        },
    )


def test_without_an_engine_nothing_fails(folder: Path) -> None:
    done = doctor(folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert "WARN  engine" in done.stdout
    assert "-> clonepool serve" in done.stdout


def test_json_is_a_list_of_checks(folder: Path) -> None:
    found = json.loads(doctor(folder, "--json").stdout)

    assert {"name", "level", "detail", "mend"} == set(found[0])
    assert "engine" in [check["name"] for check in found]


def test_settings_that_cannot_be_read_fail(folder: Path) -> None:
    file = folder / "bad.toml"
    file.write_text("wrokers = 1\n")

    done = doctor(folder, "--config", str(file))

    assert done.returncode == 1
    assert "wrokers is no setting; did you mean workers?" in done.stdout

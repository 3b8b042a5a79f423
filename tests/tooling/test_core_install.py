"""The provider's side installs and runs with the core dependencies alone, on any system."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

import clonepool
from tests.support.core_environment import CoreEnvironment, build_wheel, make_core_environment

POISON: Final = Path(__file__).parents[1] / "support/poison.py"
PROVIDER_SIDE: Final = (
    "clonepool_resources",
    "pulumi_clonepool",
    "pulumi_clonepool_plugin",
    "clonepool.api",
)
# parts of `clonepool doctor`: they look at a machine that an engine is to run on
LINUX_ONLY: Final = ["clonepool.cli.checks_lvm", "clonepool.cli.checks_machine"]
EXTRAS: Final = {
    "alembic",
    "cryptography",
    "grpcio-health-checking",
    "grpcio-reflection",
    "msgpack",
    "sqlalchemy",
    "sqlmodel",
}
NOWHERE: Final = "unix:///nowhere/engine.sock"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> CoreEnvironment:
    return make_core_environment(tmp_path_factory.mktemp("core") / "venv", wheel=wheel)


@contextmanager
def plugin(argv: list[str], variables: dict[str, str] | None = None) -> Iterator[grpc.Channel]:
    """A plugin's process, spoken to as Pulumi does: its first line is its port."""
    process = subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        process.terminate()
        assert 0 == process.wait(timeout=30)


def assert_it_answers(channel: grpc.Channel) -> None:
    """It tells its version and a schema with all that it has."""
    stub = provider_pb2_grpc.ResourceProviderStub(channel)
    told = stub.GetPluginInfo(empty_pb2.Empty(), timeout=60)
    assert clonepool.__version__ == told.version
    schema = json.loads(stub.GetSchema(provider_pb2.GetSchemaRequest(), timeout=60).schema)
    kinds = {"MasterImage", "ReplicaPool", "Server", "ServerStorageAttachment"}
    assert {f"clonepool:index:{kind}" for kind in kinds} == set(schema["resources"])


def test_the_wheel_is_for_any_python_3_and_any_system(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [] == [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".pyc"))]
    assert {"pulumi_clonepool/pulumi-plugin.json", "clonepool/py.typed"} <= set(names)


def test_nothing_of_the_extras_comes_with_it(core: CoreEnvironment) -> None:
    assert {"pulumi", "grpcio", "cyclopts", "protobuf"} <= core.distributions
    assert set() == EXTRAS & core.distributions
    asked = core.run("python", "-c", "import sqlmodel")
    assert "No module named 'sqlmodel'" in asked.stderr


def test_every_module_of_the_provider_s_side_is_imported(core: CoreEnvironment) -> None:
    """Of the installed wheel, not of this checkout."""
    done = core.run("python", str(POISON), "--import", *PROVIDER_SIDE, "clonepool.cli")
    assert LINUX_ONLY == list(json.loads(done.stdout)), done.stderr
    program = "import pulumi_clonepool, clonepool; print(pulumi_clonepool.__file__)"
    assert str(core.folder) in core.run("python", "-c", program).stdout


def test_the_command_line_tells_its_commands(core: CoreEnvironment) -> None:
    done = core.run("clonepool", "--help")
    assert (0, "") == (done.returncode, done.stderr)
    assert all(word in done.stdout for word in ("forecast", "pool", "serve", "status"))
    done = core.run("clonepool", "--version")
    assert f"clonepool {clonepool.__version__}" == done.stdout.strip()


@pytest.mark.parametrize(
    ("program", "words", "code", "said"),
    [
        ("clonepool", ["status"], 3, f"no engine answers at {NOWHERE}"),
        ("clonepool", ["pool", "list"], 3, f"no engine answers at {NOWHERE}"),
        ("clonepool", ["serve"], 1, "pip install 'clonepool[engine]'"),
    ],
)
def test_what_can_not_work_says_why_in_one_line(
    core: CoreEnvironment, program: str, words: list[str], code: int, said: str
) -> None:
    done = core.run(program, *words, CLONEPOOL_ENDPOINT=NOWHERE)
    assert code == done.returncode
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "" == done.stdout


def test_a_forecast_needs_no_engine_on_this_side(core: CoreEnvironment) -> None:
    plan = Path(__file__).parents[1] / "fixtures/forecast/pulumi-create.json"
    done = core.run("clonepool", "forecast", "pulumi", str(plan), CLONEPOOL_ENDPOINT=NOWHERE)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"no forecast: no engine answers at {NOWHERE}" in done.stdout


def test_terraform_is_told_which_packages_its_provider_lacks(core: CoreEnvironment) -> None:
    cookie = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
    done = core.run("terraform-provider-clonepool", TF_PLUGIN_MAGIC_COOKIE=cookie)
    assert (1, "") == (done.returncode, done.stderr)
    said = 'Clonepool lacks cryptography and msgpack: pip install "clonepool[terraform]"'
    assert said == done.stdout.strip()


def test_the_plugin_starts_and_answers(core: CoreEnvironment) -> None:
    launcher = str(core.programs / "pulumi-resource-clonepool")
    with plugin([launcher], core.variables()) as channel:
        assert_it_answers(channel)


def test_no_module_of_the_provider_s_side_needs_linux_to_be_imported() -> None:
    """Terraform's too, with its own extra."""
    argv = [sys.executable, str(POISON), "--import", *PROVIDER_SIDE]
    argv += ["terraform_clonepool", "clonepool.cli"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    assert LINUX_ONLY == list(json.loads(done.stdout))


def test_the_plugin_answers_where_nothing_is_of_linux() -> None:
    with plugin([sys.executable, str(POISON), "pulumi_clonepool_plugin.main:main"]) as channel:
        assert_it_answers(channel)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "What a plan will do to storage"),
        (["status"], 3, "no engine answers at unix:///home/someone/.local/state/clonepool/"),
        (["serve"], 1, "error: the engine runs on Linux, not on Windows; set CLONEPOOL_ENDPOINT"),
        (["doctor"], 0, "Windows: no engine runs here; what uses one that is elsewhere works"),
    ],
)
def test_the_command_line_answers_where_nothing_is_of_linux(
    words: list[str], code: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(POISON), "clonepool.cli:main", *words],
        env={"HOME": "/home/someone", "PATH": "/usr/bin:/bin", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert code == done.returncode, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

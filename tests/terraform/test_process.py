"""The provider's process: how it starts, what it loads, who may speak to it, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from terraform_clonepool.certificate import get_certificate
from terraform_clonepool.main import _COOKIE, _COOKIE_NAME
from terraform_clonepool.proto import tfplugin6_pb2 as pb
from tests.terraform.harness import LIMIT_S, started

_ALL_OF_IT = (
    "terraform_clonepool.service",
    "clonepool_resources.server_lifecycle",
    "clonepool_resources.storage_lifecycle",
    "clonepool_resources.reads",
    "clonepool.api.client",
)


def test_the_handshake_leads_to_a_socket_of_this_user_alone(tmp_path: Path) -> None:
    with started(tmp_path) as plugin:
        core, protocol, network, path, kind, _ = plugin.line.split("|")
        assert ("1", "6", "unix", "grpc") == (core, protocol, network, kind)
        assert 0o700 == stat.S_IMODE(Path(path).parent.stat().st_mode)
        with plugin.channel() as channel:
            answer = plugin.call(channel, "/tfplugin6.Provider/GetMetadata")
        names = {each.type_name for each in pb.Metadata.FromString(answer).resources}
        assert "clonepool_server" in names
        folder = plugin.socket.parent
        assert 0 == plugin.end()
        assert not folder.exists()


def test_ctrl_c_is_terraform_s_to_tell(tmp_path: Path) -> None:
    with started(tmp_path) as plugin, plugin.channel() as channel:
        plugin.call(channel, "/tfplugin6.Provider/GetMetadata")
        os.killpg(plugin.process.pid, signal.SIGINT)
        answer = plugin.call(channel, "/tfplugin6.Provider/StopProvider")
        assert "" == pb.StopAnswer.FromString(answer).error
        assert 0 == plugin.end()


def test_a_provider_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    with started(tmp_path) as plugin:
        folder = plugin.socket.parent
        assert folder.is_dir()
        plugin.process.terminate()
        assert 0 == plugin.process.wait(timeout=LIMIT_S)
        assert not folder.exists()


def test_what_terraform_may_know_of_and_we_do_not_is_answered_unimplemented(
    tmp_path: Path,
) -> None:
    with started(tmp_path) as plugin, plugin.channel() as channel:
        with pytest.raises(grpc.RpcError) as refused:
            plugin.call(channel, "/tfplugin6.Provider/GetResourceIdentitySchemas")
        assert grpc.StatusCode.UNIMPLEMENTED == refused.value.code()


def test_the_certificate_is_kept_for_this_user_and_used_again(tmp_path: Path) -> None:
    lines = []
    for _ in range(2):
        with started(tmp_path) as plugin:
            lines.append(plugin.line.split("|")[5])
            plugin.end()

    assert lines[0] == lines[1] != ""
    (kept,) = (tmp_path / ".cache/clonepool").iterdir()
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)


@pytest.mark.parametrize("spoilt", ["others", "text", "ended"])
def test_a_kept_certificate_that_can_t_be_trusted_is_made_anew(tmp_path: Path, spoilt: str) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    first = get_certificate(environ=environ)
    (kept,) = (tmp_path / "clonepool").iterdir()
    if spoilt == "others":
        kept.chmod(0o644)
    elif spoilt == "text":
        kept.write_text("{}")
    else:
        kept.write_text(json.dumps({**json.loads(kept.read_text()), "ends_at": time.time()}))

    assert first != get_certificate(environ=environ)


def test_one_that_can_t_be_kept_is_made_each_time() -> None:
    environ = {"XDG_CACHE_HOME": "/proc/nowhere"}

    assert get_certificate(environ=environ) != get_certificate(environ=environ)


def test_a_person_who_starts_it_is_told_what_it_is() -> None:
    environment = {name: text for name, text in os.environ.items() if name != _COOKIE_NAME}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from terraform_clonepool.main import main; sys.exit(main())",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "clonepool terraform install" in done.stderr


def test_an_installation_without_the_extra_says_which_one_to_take() -> None:
    program = (
        "import sys; sys.modules['msgpack'] = None;"
        "from terraform_clonepool.main import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, _COOKIE_NAME: _COOKIE},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    assert 1 == done.returncode
    assert 'lacks msgpack: pip install "clonepool[terraform]"' in done.stdout


@pytest.mark.parametrize(
    ("used", "unwanted"),
    [
        # what stands between the start and the handshake
        (
            "terraform_clonepool.server",
            ["cryptography", "google.protobuf", "msgpack", "clonepool_resources", "grpc.aio"],
        ),
        # and all that a plan and an apply load
        (
            ", ".join(_ALL_OF_IT),
            [
                "pulumi",
                "pulumi_clonepool",
                "cryptography",
                "asyncio",
                "grpc.aio",
                "sqlmodel",
                "sqlalchemy",
                "cyclopts",
                "rich",
                "clonepool.engine",
                "clonepool.domain",
                "clonepool.service",
            ],
        ),
    ],
)
def test_it_loads_no_more_than_it_needs(used: str, unwanted: list[str]) -> None:
    program = (
        "from clonepool.api.light_start import import_grpc; import_grpc();"
        f"import json, sys, {used};"
        # a module that is put off stands there, empty
        "print(json.dumps([n for n, m in sys.modules.items() if getattr(m, '__file__', '')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))

    assert [] == [name for name in unwanted if name in loaded]

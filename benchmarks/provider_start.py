"""Each provider's process, from its start to its first answer, against `import grpc` and `pass`.

Pulumi starts a dynamic provider or a plugin once a run, Terraform its provider three to five times.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from benchmarks.figures import Figure
from benchmarks.needs import need_terraform_extra
from benchmarks.processes import BIN, end, environment, timed_run
from benchmarks.rounds import Rounds, alternate
from pulumi_clonepool.providers import ServerStorageAttachmentProvider

NAME = "provider_start"
_FLOORS = ("import grpc", "pass")
_URN = "urn:pulumi:bench::bench::pulumi-python:dynamic/clonepool:ServerStorageAttachment::a"
_INPUTS = {"name": "a", "pool": "web", "server": "web1"}
# go-plugin's: who starts a provider by hand is told what it is
_COOKIE: Final = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
# nobody listens there: progress is lost, which is all that Pulumi's engine is needed for
_NO_ENGINE: Final = "127.0.0.1:9"
_TIMEOUT_S = 60.0


FULL = Rounds(rounds=9)
QUICK = Rounds(rounds=3)
SMOKE = Rounds(rounds=1)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One provider process: what it is timed to, and how."""

    name: str
    started: Callable[[], float]
    note: str = ""


def run(*, scratch: Path, sizes: Rounds) -> list[Figure]:
    """Each process against both floors."""
    need_terraform_extra()
    return [
        _figure(subject, program, sizes)
        for subject in _subjects(home=scratch)
        for program in _FLOORS
    ]


def _subjects(*, home: Path) -> tuple[Subject, ...]:
    terraform = partial(_terraform_environment, home)
    # the certificate is minted once a month: the rounds find it
    _terraform_handshake(terraform(tls=True))
    return (
        Subject(
            name="dynamic provider to its first hook",
            started=_dynamic_hook,
            note="the dynamic provider's process imports Pulumi's whole SDK, whatever it serves",
        ),
        Subject(name="Pulumi plugin to Handshake and GetPluginInfo", started=_plugin_handshake),
        Subject(
            name="Terraform provider to its handshake line",
            started=lambda: _terraform_handshake(terraform(tls=True)),
        ),
        Subject(
            name="Terraform provider to its schema",
            started=lambda: _terraform_schema(terraform(tls=False)),
        ),
    )


def _figure(subject: Subject, program: str, sizes: Rounds) -> Figure:
    pairs = alternate(
        rounds=sizes.rounds,
        floor=lambda _number: timed_run([sys.executable, "-c", program], env=environment()),
        subject=lambda _number: subject.started(),
    )
    return Figure(
        benchmark=NAME,
        name=f"{subject.name}, against {program}",
        unit="s",
        floor_name=f'python -c "{program}"',
        floor=pairs.floor,
        subject=pairs.subject,
        note=subject.note,
    )


def _dynamic_hook() -> float:
    """`python -m pulumi.dynamic` with our class, up to the answer of a resource's first Check."""
    blob = serialize_provider(ServerStorageAttachmentProvider())
    began = time.perf_counter()
    argv = [sys.executable, "-u", "-m", "pulumi.dynamic", _NO_ENGINE]
    with (
        _process(argv, environment(PULUMI_PROJECT="bench")) as process,
        _channel(f"127.0.0.1:{_line(process)}") as channel,
    ):
        stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Configure(provider_pb2.ConfigureRequest(args=struct_pb2.Struct()), timeout=_TIMEOUT_S)
        news = struct_pb2.Struct()
        news.update({**_INPUTS, "__provider": blob})
        answer = stub.Check(provider_pb2.CheckRequest(urn=_URN, news=news), timeout=_TIMEOUT_S)
        taken = time.perf_counter() - began
        if answer.failures:
            raise RuntimeError(f"the hook refuses what is right: {answer.failures}")
        return taken


def _plugin_handshake() -> float:
    """`pulumi-resource-clonepool`, up to the answers that Pulumi asks for first."""
    began = time.perf_counter()
    argv = [str(BIN / "pulumi-resource-clonepool"), _NO_ENGINE]
    with (
        _process(argv, environment()) as process,
        _channel(f"127.0.0.1:{_line(process)}") as channel,
    ):
        stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
        hello = provider_pb2.ProviderHandshakeRequest(engine_address=_NO_ENGINE)
        stub.Handshake(hello, timeout=_TIMEOUT_S)
        stub.GetPluginInfo(empty_pb2.Empty(), timeout=_TIMEOUT_S)
        return time.perf_counter() - began


def _terraform_environment(home: Path, *, tls: bool) -> dict[str, str]:
    """As Terraform starts a provider; it always sends a certificate of its own."""
    certificate = {"PLUGIN_CLIENT_CERT": "a certificate"} if tls else {}
    return {
        **environment(HOME=str(home), TF_PLUGIN_MAGIC_COOKIE=_COOKIE),
        "XDG_CACHE_HOME": "",
        **certificate,
    }


def _terraform_handshake(env: dict[str, str]) -> float:
    began = time.perf_counter()
    with _process([str(BIN / "terraform-provider-clonepool")], env) as process:
        _handshake(process)
        return time.perf_counter() - began


def _terraform_schema(env: dict[str, str]) -> float:
    """Up to the schema: what the handshake put off is loaded by then. Without TLS."""
    began = time.perf_counter()
    with _process([str(BIN / "terraform-provider-clonepool")], env) as process:
        path = _handshake(process)[3]
        with _channel(f"unix:{path}") as channel:
            ask: Any = channel.unary_unary("/tfplugin6.Provider/GetProviderSchema")
            if not ask(b"", timeout=_TIMEOUT_S):
                raise RuntimeError("the provider has no schema")
            return time.perf_counter() - began


def _handshake(process: subprocess.Popen[str]) -> list[str]:
    line = _line(process)
    words = line.split("|")
    if len(words) != 6:
        raise RuntimeError(f"no handshake: {line!r}")
    return words


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{process.args!r} said nothing and ended; its error is above")
    return line


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address)


@contextmanager
def _process(argv: list[str], env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)
        assert process.stdout is not None
        process.stdout.close()

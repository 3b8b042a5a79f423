"""Speaks to a plugin process as Pulumi's engine does, and shows what it says beside the calls."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from grpc_status import rpc_status
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from tests.support.plugin_project import LAUNCHER

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


def urn(kind: str, name: str = "web") -> str:
    return f"urn:pulumi:test::trial::clonepool:index:{kind}::{name}"


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(values)
    return message


def values(message: struct_pb2.Struct) -> dict[str, Any]:
    return json_format.MessageToDict(message)


def secret(value: Any) -> dict[str, Any]:
    return {SIGNATURE: SECRET, "value": value}


class Display(engine_pb2_grpc.EngineServicer):
    """The part of Pulumi's engine that shows what providers log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.said = threading.Event()

    def Log(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802 - gRPC's name
        self.lines.append((request.urn, request.message))
        self.said.set()
        return empty_pb2.Empty()

    @classmethod
    @contextmanager
    def served(cls) -> Iterator[tuple[Display, str]]:
        display, server = cls(), grpc.server(futures.ThreadPoolExecutor(4))
        engine_pb2_grpc.add_EngineServicer_to_server(display, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield display, f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@dataclass(kw_only=True)
class Failure:
    """How a call failed: the code, the line that users see, and what Pulumi keeps of it."""

    code: str
    text: str
    details: list[Any] = field(default_factory=list)


@dataclass(kw_only=True)
class Plugin:
    """One plugin process; calls are by the protocol's names."""

    process: subprocess.Popen[str]
    stub: Any
    display: Display

    def configure(self, **args: Any) -> Any:
        return self.stub.Configure(provider_pb2.ConfigureRequest(args=struct(args)))

    def check(self, kind: str, news: Mapping[str, Any], **more: Any) -> Any:
        request = provider_pb2.CheckRequest(urn=urn(kind), news=struct(news), **more)
        return self.stub.Check(request)

    def checked(self, kind: str, news: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.check(kind, news)
        assert not answer.failures, answer.failures
        return values(answer.inputs)

    def diff(self, kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Any:
        request = provider_pb2.DiffRequest(
            id="i", urn=urn(kind), olds=struct(old), old_inputs=struct(old), news=struct(new)
        )
        return self.stub.Diff(request)

    def create(self, kind: str, inputs: Mapping[str, Any], **more: Any) -> Any:
        request = provider_pb2.CreateRequest(urn=urn(kind), properties=struct(inputs), **more)
        return self.stub.Create(request, timeout=60)

    def begin_create(self, kind: str, inputs: Mapping[str, Any]) -> Any:
        request = provider_pb2.CreateRequest(urn=urn(kind), properties=struct(inputs))
        return self.stub.Create.future(request, timeout=60)

    def read(self, kind: str, resource_id: str, inputs: Mapping[str, Any] | None = None) -> Any:
        known = struct(inputs or {})
        request = provider_pb2.ReadRequest(
            id=resource_id, urn=urn(kind), inputs=known, properties=known
        )
        return self.stub.Read(request, timeout=60)

    def update(
        self, kind: str, resource_id: str, old: Mapping[str, Any], new: Mapping[str, Any], **m: Any
    ) -> Any:
        request = provider_pb2.UpdateRequest(
            id=resource_id, urn=urn(kind), olds=struct(old), news=struct(new), **m
        )
        return self.stub.Update(request, timeout=60)

    def delete(self, kind: str, resource_id: str, properties: Mapping[str, Any]) -> None:
        request = provider_pb2.DeleteRequest(
            id=resource_id, urn=urn(kind), properties=struct(properties)
        )
        self.stub.Delete(request, timeout=60)

    def invoke(self, function: str, **args: Any) -> Any:
        request = provider_pb2.InvokeRequest(tok=f"clonepool:index:{function}", args=struct(args))
        return self.stub.Invoke(request, timeout=60)


def failure_of(error: grpc.RpcError) -> Failure:
    """What a failed call says, with its details unpacked."""
    call: Any = error
    failure = Failure(code=call.code().name, text=call.details())
    status = rpc_status.from_call(call)
    for packed in status.details if status else ():
        for kind in (provider_pb2.ErrorResourceInitFailed, provider_pb2.ConfigureErrorMissingKeys):
            message = kind()
            if packed.Unpack(message):
                failure.details.append(message)
    return failure


@contextmanager
def running_plugin(folder: Path, **variables: str) -> Iterator[Plugin]:
    """Start the plugin as Pulumi does, handshake with it, and interrupt it at the end."""
    inherited = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables}
    with Display.served() as (display, address):
        process = subprocess.Popen(
            [str(folder / LAUNCHER), address],
            env=inherited,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address=address))
                yield Plugin(process=process, stub=stub, display=display)
        finally:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()

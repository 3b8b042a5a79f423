"""Drives the real ``python -m pulumi.dynamic`` server as Pulumi's engine does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
URN = "urn:pulumi:test::trial::pulumi-python:dynamic/clonepool:Thing::thing"


class Display(engine_pb2_grpc.EngineServicer):
    """The part of Pulumi's engine that shows what providers log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ephemeral: list[bool] = []

    def Log(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802 - gRPC's name
        self.lines.append(request.message)
        self.ephemeral.append(request.ephemeral)
        return empty_pb2.Empty()


class DynamicServer:
    """One provider's hooks over the wire; ``blob`` is what Pulumi keeps of the provider."""

    def __init__(self, stub: Any, display: Display, blob: str) -> None:
        self.stub, self.display, self.blob = stub, display, blob

    def configure(self, config: Mapping[str, str]) -> None:
        self.stub.Configure(provider_pb2.ConfigureRequest(args=struct(config)))

    def check(
        self, news: Mapping[str, Any], olds: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        request = provider_pb2.CheckRequest(
            urn=URN, olds=self._with_blob(olds or {}), news=self._with_blob(news)
        )
        answer = self.stub.Check(request)
        return plain(answer.inputs), {
            failure.property: failure.reason for failure in answer.failures
        }

    def diff(self, olds: Mapping[str, Any], news: Mapping[str, Any]) -> Any:
        return self.stub.Diff(
            provider_pb2.DiffRequest(
                id="1", urn=URN, olds=self._with_blob(olds), news=self._with_blob(news)
            )
        )

    def create(self, properties: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        answer = self.stub.Create(
            provider_pb2.CreateRequest(urn=URN, properties=self._with_blob(properties))
        )
        return answer.id, plain(answer.properties)

    def read(
        self, resource_id: str, properties: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        answer = self.stub.Read(
            provider_pb2.ReadRequest(
                id=resource_id, urn=URN, properties=self._with_blob(properties)
            )
        )
        return answer.id, plain(answer.properties), plain(answer.inputs)

    def update(
        self, resource_id: str, olds: Mapping[str, Any], news: Mapping[str, Any]
    ) -> dict[str, Any]:
        answer = self.stub.Update(
            provider_pb2.UpdateRequest(
                id=resource_id, urn=URN, olds=self._with_blob(olds), news=self._with_blob(news)
            )
        )
        return plain(answer.properties)

    def delete(self, resource_id: str, properties: Mapping[str, Any]) -> None:
        self.stub.Delete(
            provider_pb2.DeleteRequest(
                id=resource_id, urn=URN, properties=self._with_blob(properties)
            )
        )

    def _with_blob(self, properties: Mapping[str, Any]) -> struct_pb2.Struct:
        return struct({**properties, "__provider": self.blob})


@contextmanager
def serve(blob: str, *, environment: Mapping[str, str]) -> Iterator[DynamicServer]:
    """Start the server beside a display for its log; ends both."""
    display = Display()
    showing = grpc.server(futures.ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(display, showing)
    port = showing.add_insecure_port("127.0.0.1:0")
    showing.start()
    argv = [sys.executable, "-u", "-m", "pulumi.dynamic", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PULUMI_PROJECT": "trial", **environment},
    )
    try:
        assert process.stdout is not None
        channel = grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}")
        yield DynamicServer(provider_pb2_grpc.ResourceProviderStub(channel), display, blob)
        channel.close()
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        showing.stop(0).wait()


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(dict(values))
    return made


def plain(values: struct_pb2.Struct) -> dict[str, Any]:
    """Without Pulumi's own property."""
    found = json_format.MessageToDict(values)
    found.pop("__provider", None)
    return found

"""A double of the Pulumi random provider, for machines that cannot download the real one.

It speaks the same ResourceProvider protocol to a real Pulumi command line and serves RandomPet,
RandomId and RandomPassword. It cannot import, and has no functions.
"""

# ruff: noqa: N802 - the protocol names its methods
from __future__ import annotations

import signal
import threading
from concurrent import futures
from importlib.metadata import version
from typing import NoReturn

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from tests.support.random_provider.kinds import KINDS, Kind, Values

# the wire's words for a value that is not known yet, and for one to be encrypted
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


def to_values(message: struct_pb2.Struct) -> Values:
    """A message's fields; those that are null count as absent."""
    fields: Values = json_format.MessageToDict(message)
    return {name: value for name, value in fields.items() if value is not None}


def to_message(values: Values) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    json_format.ParseDict(dict(values), message)
    return message


def secret(value: object) -> Values:
    return {SIGNATURE: SECRET, "value": value}


def problems(kind: Kind, values: Values) -> list[tuple[str, str]]:
    """What is wrong with the inputs, as (property, reason); the unknown is not judged."""
    found = [(name, "is required") for name in kind.required if name not in values]
    for name, least in kind.minimums.items():
        value = values.get(name, least)
        if value != UNKNOWN and not (isinstance(value, (int, float)) and value >= least):
            found.append((name, f"must be a number of at least {least}, not {value!r}"))
    return found


def with_outputs(kind: Kind, values: Values, computed: Values) -> struct_pb2.Struct:
    """The object's whole state: inputs with defaults, and what was made."""
    shown = {n: secret(v) if n in kind.secret else v for n, v in computed.items()}
    return to_message({**kind.defaults, **values, **shown})


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)
    raise AssertionError("abort() does not return")


def kind_of(urn: str, context: grpc.ServicerContext) -> Kind:
    """The kind a URN names, which ends in ``TYPE::NAME``."""
    token = urn.split("::")[-2].rpartition("$")[2]
    if token not in KINDS:
        what = f"the random provider's double does not serve {token}"
        refuse(context, grpc.StatusCode.UNIMPLEMENTED, what)
    return KINDS[token]


class RandomProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Keeps nothing: a random object exists only in the stack's state."""

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        # secrets among the inputs come in the clear; the engine itself marks what depends on them
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=False)

    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=version("pulumi-random"))

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Hand the inputs back as they are, or say what is wrong with each property."""
        found = problems(kind_of(request.urn, context), to_values(request.news))
        failures = [provider_pb2.CheckFailure(property=name, reason=why) for name, why in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Any changed input replaces the object, and so does one that is not known yet."""
        old, new = to_values(request.old_inputs), to_values(request.news)
        ignored = set(request.ignoreChanges)
        names = {n for n in {*old, *new} - ignored if old.get(n) != new.get(n)}
        response = provider_pb2.DiffResponse
        return response(
            changes=response.DIFF_SOME if names else response.DIFF_NONE,
            replaces=sorted(names),
            diffs=sorted(names),
        )

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Make the values; in a preview they are unknown, and the object has no id."""
        kind, values = kind_of(request.urn, context), to_values(request.properties)
        if request.preview:
            unknown = dict.fromkeys(kind.computed, UNKNOWN)
            return provider_pb2.CreateResponse(properties=with_outputs(kind, values, unknown))
        made = kind.make({**kind.defaults, **values})
        state = with_outputs(kind, values, made.outputs)
        return provider_pb2.CreateResponse(id=made.id, properties=state)

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """What the state holds is all there is."""
        if not request.properties.fields:
            what = "the random provider's double cannot import; install the real one"
            refuse(context, grpc.StatusCode.UNIMPLEMENTED, what)
        return provider_pb2.ReadResponse(
            id=request.id, properties=request.properties, inputs=request.inputs
        )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        """Nothing changes in place; what is asked for is taken over without new values."""
        state = {**to_values(request.olds), **to_values(request.news)}
        return provider_pb2.UpdateResponse(properties=to_message(state))

    def Delete(
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()


def main() -> None:
    """Serve until told to stop. The first line on stdout is the port, as the engine expects."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    server = grpc.server(futures.ThreadPoolExecutor(4), options=_GRPC_CHANNEL_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(RandomProvider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    stopped.wait()
    server.stop(grace=2).wait()

"""An engine to send requests to, and what must hold of every answer."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from clonepool.api import status
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, InvalidArgument
from tests.fuzz.messages import SECRET, SERVICE, Requests, garbled

# on a machine that does other things too; alone, the slowest takes some tenths of a second
SLOWEST_S: Final = 20.0
# not ABORTED: with one caller nothing comes in between, it would be the tables' guards speaking
ALLOWED: Final = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
# a message is for people; what they wrote is quoted in part
_LONGEST_MESSAGE_CHARS: Final = 4000
_TRACEBACK: Final = re.compile(r"Traceback|File \"/|\.py\b|object at 0x")
_IDENTITY: Final = bytes
_KEPT: Final = 12


# everything that callers made, row by row
State = Callable[[], frozenset[Any]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; ``error`` None where it was OK."""

    code: grpc.StatusCode
    error: ClonepoolError | None
    data: bytes
    took_s: float


class Target:
    """Sends requests as bytes, so that also such can be sent as no library would."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint.replace("unix://", "unix:"))

    def close(self) -> None:
        self._channel.close()

    def send(self, method: MethodDescriptor, data: bytes) -> Answer:
        """Send and wait; of a stream the first message, if there is one within a moment."""
        path = f"/{SERVICE.full_name}/{method.name}"
        began = time.monotonic()
        try:
            answer = (
                self._first(path, data)
                if method.server_streaming
                else self._channel.unary_unary(path, _IDENTITY, _IDENTITY)(data, timeout=SLOWEST_S)
            )
            code, error = grpc.StatusCode.OK, None
        except grpc.RpcError as rpc_error:
            answer = b""
            code, error = rpc_error.code(), status.from_rpc_error(rpc_error)
        return Answer(code=code, error=error, data=answer, took_s=time.monotonic() - began)

    def _first(self, path: str, data: bytes) -> bytes:
        stream = self._channel.unary_stream(path, _IDENTITY, _IDENTITY)(data, timeout=0.2)
        try:
            return next(iter(stream), b"")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return b""
            raise
        finally:
            stream.cancel()

    def call(self, name: str, request: Message) -> Any:
        """One good request's answer. Fails when it is refused."""
        method = SERVICE.methods_by_name[name]
        answer = self.send(method, request.SerializeToString())
        assert answer.error is None, (name, request, answer.error)
        return getattr(pb, method.output_type.name).FromString(answer.data)


def check_answer(answer: Answer) -> None:
    """What holds of every answer, good or bad."""
    assert answer.code in ALLOWED, f"{answer.code.name}: {answer.error}"
    assert answer.took_s < SLOWEST_S
    if answer.error is None:
        return
    said = "\n".join(
        [
            answer.error.message,
            *answer.error.metadata.values(),
            *(f"{each.field} {each.description}" for each in answer.error.violations),
        ]
    )
    assert 0 < len(answer.error.message) <= _LONGEST_MESSAGE_CHARS, len(answer.error.message)
    assert "\n" not in answer.error.message
    assert SECRET not in said, "a secret is repeated"
    assert not _TRACEBACK.search(answer.error.message), answer.error.message
    if isinstance(answer.error, InvalidArgument):
        assert answer.error.violations, f"no field is named: {answer.error}"
        assert all(each.field and each.description for each in answer.error.violations)
    # an error of ours, not of the library below
    assert answer.error.reason or any(word in said for word in ("there is no", "exists")), said


class Fuzz:
    """A run of so many requests; each failure says what was sent, and how to send it again."""

    def __init__(self, target: Target, *, seed: str, state: State, goods: Mapping[str, Message]):
        self._target = target
        self._seed = seed
        self._state = state
        self._goods = goods
        self.codes: dict[grpc.StatusCode, int] = {}
        self.slowest_s = 0.0

    def run(self, count: int, known: Mapping[str, Sequence[str]]) -> None:
        """Send ``count`` requests; ``known`` is refreshed by what the engine says it has."""
        for number in range(count):
            if number % 25 == 0:
                known = {**known, **self._known()}
            self._one(number, known)

    def _one(self, number: int, known: Mapping[str, Sequence[str]]) -> None:
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311 - to be repeated by its seed
        requests = Requests(chance, known)
        method = requests.method()
        good = self._goods.get(method.name) if chance.random() < 0.7 else None
        request = requests.request(method, good)
        raw = chance.random() < 0.03
        data = garbled(chance, request) if raw else request.SerializeToString()
        before = self._state()
        answer = self._target.send(method, data)
        sent = f"request {number} of seed {self._seed}: {method.name} {request} raw={raw}"
        try:
            check_answer(answer)
            if answer.error is not None:
                # what goes meanwhile goes behind, by itself: what comes or changes is the question
                added = self._state() - before
                assert not added, f"a refused request made or changed {added}"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{sent[:3000]}\n{answer}"[:6000]) from None
        self.codes[answer.code] = self.codes.get(answer.code, 0) + 1
        self.slowest_s = max(self.slowest_s, answer.took_s)

    def _known(self) -> Mapping[str, Sequence[str]]:
        """What exists; what is too much of it is deleted."""
        call = self._target.call
        attachments = call("ListAttachments", pb.ListRequest()).attachments
        for each in attachments[_KEPT:]:
            call("DeleteAttachment", pb.DeleteAttachmentRequest(id=each.id, force=True))
        pools = call("ListPools", pb.ListRequest()).pools
        for pool in pools:
            if pool.spec.min_ready > _KEPT:
                pool.spec.min_ready = pool.spec.wait_for_ready = 1
                call("UpdatePool", pb.UpdatePoolRequest(id=pool.id, spec=pool.spec))
        images = call("ListImages", pb.ListRequest()).images
        used = {pool.spec.master_image for pool in pools}
        for image in [image for image in images if image.spec.name not in used][_KEPT:]:
            call("DeleteImage", pb.DeleteRequest(id=image.id))
        servers = call("ListServers", pb.ListRequest()).servers
        things = (*images, *pools, *servers, *attachments)
        names = [thing.spec.name for thing in things]
        ids = [thing.id for thing in things]
        return {
            "id": [
                *ids,
                *(
                    volume.id
                    for volume in call("ListVolumes", pb.ListVolumesRequest(page_size=20)).volumes
                ),
            ],
            "image_id": [image.id for image in images],
            "name": [*names, "new-1", "new-2", "new-3", "web-1", "spare"],
            "pool": [pool.spec.name for pool in pools],
            "master_image": [image.spec.name for image in images],
            "server": [server.spec.name for server in servers],
            "request_token": ["t", *names],
        }

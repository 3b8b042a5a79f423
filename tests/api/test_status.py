"""Errors cross the wire and come back as the same kind, with all they carried."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from clonepool import errors
from clonepool.api import status
from clonepool.api.details import DOMAIN
from clonepool.errors import ClonepoolError, CommandError, FieldViolation

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, ClonepoolError)
    and kind not in (ClonepoolError, CommandError)
]


class Call(grpc.RpcError):
    """What a client's stub raises, made from what a server sent."""

    def __init__(self, sent: grpc.Status) -> None:
        self._sent = sent

    def code(self) -> grpc.StatusCode:
        return self._sent.code

    def details(self) -> str:
        return self._sent.details

    def trailing_metadata(self) -> Any:
        return self._sent.trailing_metadata


def there_and_back(error: BaseException) -> ClonepoolError:
    return status.from_rpc_error(Call(status.to_status(error)))


def test_every_kind_has_a_code_of_its_own() -> None:
    assert set(KINDS) == set(status.CODES)
    assert len(set(status.CODES.values())) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_comes_back_with_everything(kind: type[ClonepoolError]) -> None:
    sent = kind(
        "pool web has no ready replica (8 creating); retry",
        reason="POOL_EMPTY",
        metadata={"ready": "0", "cloning": "8"},
        violations=[FieldViolation(field="scrub.threshold", description="must be 1 or more")],
        retry_after_s=2.5,
    )

    came = there_and_back(sent)

    assert type(came) is kind
    assert came.__dict__ == sent.__dict__


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_kind_stays_bare(kind: type[ClonepoolError]) -> None:
    came = there_and_back(kind("short"))

    assert type(came) is kind
    assert came.__dict__ == kind("short").__dict__


def test_no_wait_is_not_the_same_as_no_hint() -> None:
    assert there_and_back(errors.Unavailable("now", retry_after_s=0.0)).retry_after_s == 0.0


def test_a_subclass_travels_as_its_kind() -> None:
    class PoolGone(errors.NotFound):
        """A kind of a driver's own."""

    assert type(there_and_back(PoolGone("gone"))) is errors.NotFound


def test_a_failed_precondition_names_its_subject() -> None:
    error = errors.FailedPrecondition(
        "pool web has attachments", reason="IN_USE", metadata={"subject": "pool/web"}
    )

    sent = status_pb2.Status.FromString(dict(status.to_status(error).trailing_metadata)[
        "grpc-status-details-bin"
    ])  # fmt: skip
    failure = error_details_pb2.PreconditionFailure()
    assert any(detail.Unpack(failure) for detail in sent.details)

    assert [(v.type, v.subject) for v in failure.violations] == [("IN_USE", "pool/web")]
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in sent.details)
    assert info.domain == DOMAIN == "clonepool"


def test_a_failed_command_is_internal_and_one_line() -> None:
    failed = CommandError(argv=["mkfs.ext4", "/x"], exit_code=1, stderr="bad\nsuperblock\n")

    came = there_and_back(failed)

    assert type(came) is errors.Internal
    assert came.message == "mkfs.ext4 exited with 1: bad superblock"


def test_a_defect_tells_its_class_but_not_its_text() -> None:
    """The text of, say, a database error may hold the values of a statement."""
    came = there_and_back(KeyError("secret-value"))

    assert type(came) is errors.Internal
    assert "KeyError" in came.message
    assert "secret-value" not in came.message


@pytest.mark.parametrize(("word", "limit_bytes"), [("name ", 8 * 1024), ("名前 ", 9 * 1024)])
def test_a_very_long_message_still_fits_the_trailers(word: str, limit_bytes: int) -> None:
    """gRPC answers RESOURCE_EXHAUSTED in place of an error whose trailers exceed its limit."""
    huge = errors.FailedPrecondition(
        "attachments: " + word * 50_000,
        metadata={f"k{n}": word * 5000 for n in range(100)},
        violations=[FieldViolation(field="x", description=word * 5000)] * 100,
    )

    sent = status.to_status(huge)
    packed = sum(len(value) * 4 / 3 for _, value in sent.trailing_metadata)

    assert len(quote(sent.details)) + packed < limit_bytes
    assert type(there_and_back(huge)) is errors.FailedPrecondition


def test_what_the_network_says_is_no_engines_word() -> None:
    plain = _network_error()

    assert not status.spoken_by_engine(plain)
    assert type(status.from_rpc_error(plain)) is errors.Unavailable


def _network_error() -> Call:
    class Sent:
        code = grpc.StatusCode.UNAVAILABLE
        details = "failed to connect\nto all addresses"
        trailing_metadata = ()

    sent: Any = Sent()
    return Call(sent)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.OUT_OF_RANGE])
def test_a_code_that_no_kind_has_is_a_defect(code: grpc.StatusCode) -> None:
    error = _network_error()
    error._sent.code = code  # type: ignore[misc]

    assert type(status.from_rpc_error(error)) is errors.Internal

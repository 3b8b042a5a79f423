"""Rich error details on the wire: google.rpc's messages made from a kind and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # ships no stubs
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no stubs
from grpc_status import rpc_status

from clonepool.errors import ClonepoolError, FailedPrecondition, FieldViolation

DOMAIN: Final = "clonepool"

# Statuses travel in HTTP/2 trailers, which gRPC cuts off above 8 KiB (soft) and 16 KiB (hard);
# the message is carried up to three times, partly in base64 or percent-encoded. These limits
# keep the worst case near 8 KiB.
_MESSAGE_LIMIT_BYTES: Final = 1000
_DETAIL_LIMIT_BYTES: Final = 160
_DETAILS_LIMIT: Final = 8


def encode(*, error: ClonepoolError, code: grpc.StatusCode) -> grpc.Status:
    """The status of ``error``, every text cut to one line of bounded length."""
    number: int = code.value[0]
    status = Status(code=number, message=_one_line(error.message, limit_bytes=_MESSAGE_LIMIT_BYTES))
    for detail in _details(error):
        status.details.add().Pack(detail)
    return rpc_status.to_status(status)


def decode(*, error: grpc.RpcError, kind: type[ClonepoolError]) -> ClonepoolError:
    """The error of ``kind`` that a status with details carries."""
    call: Any = error
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # something in between rewrote the code or the message
        status = None
    if status is None:
        return kind(_one_line(str(call.details()), limit_bytes=_MESSAGE_LIMIT_BYTES))
    info, bad = ErrorInfo(), BadRequest()
    _unpack(status.details, into=info)
    _unpack(status.details, into=bad)
    return kind(
        status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=[
            FieldViolation(field=violation.field, description=violation.description)
            for violation in bad.field_violations
        ],
        retry_after_s=_retry_after_s(status.details),
    )


def _details(error: ClonepoolError) -> Iterator[Message]:
    # always there: it also tells a caller that an engine answered, not the network
    yield ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_bounded(error.metadata))
    if error.violations:
        yield _bad_request(error.violations)
    if isinstance(error, FailedPrecondition):
        yield _precondition_failure(error)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        yield RetryInfo(retry_delay=delay)


def _one_line(text: str, *, limit_bytes: int) -> str:
    line = " ".join(text.split())
    encoded = line.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[: limit_bytes - 3].decode(errors="ignore") + "…"


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    kept = list(metadata.items())[:_DETAILS_LIMIT]
    return {key: _one_line(value, limit_bytes=_DETAIL_LIMIT_BYTES) for key, value in kept}


def _bad_request(violations: Sequence[FieldViolation]) -> Message:
    described = [
        BadRequest.FieldViolation(
            field=violation.field,
            description=_one_line(violation.description, limit_bytes=_DETAIL_LIMIT_BYTES),
        )
        for violation in violations[:_DETAILS_LIMIT]
    ]
    message: Message = BadRequest(field_violations=described)
    return message


def _precondition_failure(error: ClonepoolError) -> Message:
    violation = PreconditionFailure.Violation(
        type=error.reason,
        subject=error.metadata.get("subject", ""),
        description=_one_line(error.message, limit_bytes=_DETAIL_LIMIT_BYTES),
    )
    message: Message = PreconditionFailure(violations=[violation])
    return message


def _unpack(packed_details: Sequence[Any], *, into: Message) -> bool:
    return any(packed.Unpack(into) for packed in packed_details)


def _retry_after_s(packed_details: Sequence[Any]) -> float | None:
    retry = RetryInfo()
    if not _unpack(packed_details, into=retry):
        return None
    nanoseconds: int = retry.retry_delay.ToNanoseconds()
    return nanoseconds / 1e9

"""The one table between error kinds and gRPC codes, used both ways.

Encoding and decoding the details costs 35 ms of imports (``clonepool.api.details``), which a
caller pays only once something fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from clonepool import errors
from clonepool.errors import ClonepoolError

CODES: Final[Mapping[type[ClonepoolError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
_KINDS: Final = {code: kind for kind, code in CODES.items()}
_DETAILS_KEY: Final = "grpc-status-details-bin"


def code_of(error: BaseException) -> grpc.StatusCode:
    """The code of an error's kind; INTERNAL for what is no kind of ours."""
    found = (CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    return next(found, grpc.StatusCode.INTERNAL)


def to_status(error: BaseException) -> grpc.Status:
    """The rich status that tells a caller of ``error``: one line, never a traceback.

    What is no kind of ours becomes INTERNAL with its class's name only, since its text may hold
    values that the caller must not see; the engine's log has the rest.
    """
    from clonepool.api import details  # noqa: PLC0415 - only once something fails

    return details.encode(error=_known(error), code=code_of(error))


def from_rpc_error(error: grpc.RpcError) -> ClonepoolError:
    """The kind that the other side raised, with its violations, reason, figures and retry hint."""
    code: grpc.StatusCode = getattr(error, "code", lambda: grpc.StatusCode.INTERNAL)()
    kind = _KINDS.get(code, errors.Internal)
    if spoken_by_engine(error):
        from clonepool.api import details  # noqa: PLC0415 - only once something fails

        return details.decode(error=error, kind=kind)
    text = getattr(error, "details", lambda: "")() or code.name
    return kind(" ".join(text.split()))


def spoken_by_engine(error: grpc.RpcError) -> bool:
    """Whether an engine said this (it always adds details), rather than gRPC or a proxy."""
    trailers = getattr(error, "trailing_metadata", lambda: None)() or ()
    return any(key == _DETAILS_KEY for key, _ in trailers)


def _known(error: BaseException) -> ClonepoolError:
    if isinstance(error, ClonepoolError):
        return error
    return errors.Internal(
        f"internal error ({type(error).__name__}); the engine's log has the details",
        reason="DEFECT",
    )

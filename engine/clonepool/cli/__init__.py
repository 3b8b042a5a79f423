"""The command line. Reads of it start fast: nothing of the engine is imported for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from clonepool.api.light_start import defer_async_grpc, import_grpc

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
ENGINE_AWAY: Final = 3
FORESEEN: Final = 4
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and never raises.

    0 done; 1 failed; 2 the command line or a setting is wrong; 3 no engine answers;
    4 a forecast holds what `--fail-on` names; 130 interrupted; 141 whoever read the output has
    gone.
    """
    # gRPC writes lines of its own to stderr, where a caller expects one line of ours
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    defer_async_grpc()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(_take_endpoint(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the edge: never a traceback for a user
        return _report(error)
    return code


def _take_endpoint(arguments: list[str]) -> list[str]:
    """Put --endpoint, which every command takes, where the client looks for it."""
    left = []
    words = iter(arguments)
    for word in words:
        if word == "--endpoint":
            os.environ["CLONEPOOL_ENDPOINT"] = next(words, "--endpoint needs a value")
        elif word.startswith("--endpoint="):
            os.environ["CLONEPOOL_ENDPOINT"] = word.partition("=")[2]
        else:
            left.append(word)
    return left


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["status"] and set(arguments[1:]) <= {"--json"}:
        # asked for often, by people and monitors: parsing this by hand saves 0.1 s of imports
        import_grpc()
        from clonepool.cli.status import status  # noqa: PLC0415 - see above

        status(json="--json" in arguments)
        return OK
    from clonepool.cli.app import run  # noqa: PLC0415 - see above

    return run(arguments)


def _report(error: Exception) -> int:
    from clonepool.errors import ClonepoolError, InvalidArgument  # noqa: PLC0415 - only on errors

    if isinstance(error, OSError) and error.strerror:
        _say(": ".join(filter(None, [error.filename, error.strerror])))
        return FAILED
    if not isinstance(error, ClonepoolError):
        if os.environ.get("CLONEPOOL_DEBUG"):
            raise error
        _say(f"{type(error).__name__}: {error} (a defect; CLONEPOOL_DEBUG=1 shows where)")
        return FAILED
    _say(str(error))
    if isinstance(error, InvalidArgument):
        return USAGE
    return ENGINE_AWAY if error.reason == "ENGINE_AWAY" else FAILED


def _say(text: str) -> None:
    print("error: " + " ".join(text.split()), file=sys.stderr)


def _forget_stdout() -> None:
    """Keep Python from flushing into the closed pipe once more, with a traceback, at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

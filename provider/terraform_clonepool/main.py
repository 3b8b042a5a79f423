"""The program ``terraform-provider-clonepool``, which Terraform and OpenTofu start."""

from __future__ import annotations

import os
import sys
from typing import Final

_COOKIE_NAME: Final = "TF_PLUGIN_MAGIC_COOKIE"
_COOKIE: Final = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
_NOT_FOR_PEOPLE: Final = (
    "This is Clonepool's provider for Terraform and OpenTofu, which start it themselves. "
    "`clonepool terraform install` makes it known to them."
)


def main() -> int:
    """Serve one Terraform process; returns when it is done."""
    if os.environ.get(_COOKIE_NAME) != _COOKIE:
        sys.stderr.write(f"{_NOT_FOR_PEOPLE}\n")
        return 1
    # a stray print must not spoil the handshake line
    announce, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from clonepool.api.light_start import defer_async_grpc  # noqa: PLC0415 - before gRPC

    defer_async_grpc()
    from terraform_clonepool.plugin_log import log_to  # noqa: PLC0415 - only to serve
    from terraform_clonepool.server import serve  # noqa: PLC0415 - only to serve

    log_to()
    serve(announce=announce)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The program ``terraform-provider-clonepool``, which Terraform and OpenTofu start."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Final

_COOKIE_NAME: Final = "TF_PLUGIN_MAGIC_COOKIE"
_COOKIE: Final = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
_NOT_FOR_PEOPLE: Final = (
    "This is Clonepool's provider for Terraform and OpenTofu, which start it themselves. "
    "`clonepool terraform install` makes it known to them."
)
_NEEDED: Final = ("cryptography", "msgpack")


def main() -> int:
    """Serve one Terraform process and end with it; returns only where there is none to serve."""
    if os.environ.get(_COOKIE_NAME) != _COOKIE:
        sys.stderr.write(f"{_NOT_FOR_PEOPLE}\n")
        return 1
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        # Terraform shows what stands where it expects the handshake
        print(f'Clonepool lacks {" and ".join(missing)}: pip install "clonepool[terraform]"')
        return 1
    # a stray print must not spoil the handshake line
    announce, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from clonepool.api.light_start import import_grpc  # noqa: PLC0415 - before gRPC

    import_grpc()
    from terraform_clonepool.plugin_log import log_to  # noqa: PLC0415 - only to serve
    from terraform_clonepool.server import serve  # noqa: PLC0415 - only to serve

    log_to()
    serve(announce=announce)
    # All is said and sent. Taking the interpreter down in order costs Terraform 50 ms and more at
    # each of its starts, since it waits for our end.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

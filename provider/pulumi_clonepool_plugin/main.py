"""Where the command ``pulumi-resource-clonepool`` starts."""

from __future__ import annotations

import sys

from clonepool.api.light_start import import_grpc


def main() -> int:
    """Serve until told to stop; what is imported here is what every preview pays for."""
    import_grpc()
    from pulumi_clonepool_plugin.process import run  # noqa: PLC0415 - after the above

    return run()


if __name__ == "__main__":
    sys.exit(main())

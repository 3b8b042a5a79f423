"""What the end-to-end tests stand on."""

from tests.support.engine_process import open_site, site

__all__ = ["open_site", "site"]

"""What the tests of the examples stand on."""

from tests.support.engine_process import open_site, site

__all__ = ["open_site", "site"]

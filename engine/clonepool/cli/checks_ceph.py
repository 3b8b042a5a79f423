"""Doctor's check of a storage in a Ceph cluster: bindings, key, pool and figures."""

from __future__ import annotations

from clonepool.backends.rbd_bindings import load_bindings
from clonepool.backends.registry import create_backend
from clonepool.cli.checks import Check, broken, good
from clonepool.config import DriverSettings, Settings
from clonepool.errors import ClonepoolError
from clonepool.units import format_size

_OURS_TO_READ = "reserve"


def check_ceph(storage: DriverSettings, settings: Settings) -> Check:
    """Ask the cluster for its space as the engine does; waits for as long as the options say."""
    title = f"storage {storage.name}"
    options = {name: text for name, text in storage.options.items() if name != _OURS_TO_READ}
    asked = DriverSettings(name=storage.name, driver=storage.driver, options=options)
    try:
        version = load_bindings().version
        space = create_backend(asked, default_directory=settings.state_dir).space()
    except ClonepoolError as error:
        return broken(title, str(error), "see docs/ceph.md")
    return good(
        title,
        f"librbd {version}: {format_size(space.free_bytes)} free of "
        f"{format_size(space.total_bytes)}: thin clones by RBD",
    )

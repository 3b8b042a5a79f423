"""Doctor's checks of a running engine: whether it answers, and what it says of its drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli.checks import Check, broken, good, lacking
from clonepool.config import Settings
from clonepool.errors import ClonepoolError

_TIMEOUT_S: Final = 5.0


def check_engine(settings: Settings) -> Iterator[Check]:
    """Ask the engine that commands would ask; its storages and fabrics, where it answers."""
    try:
        with EngineClient.connect(connect_wait_s=0) as client:
            request = pb.GetEngineInfoRequest()
            info = client.call("GetEngineInfo", request, timeout_s=_TIMEOUT_S)
            endpoint = str(client.endpoint)
            orphans = client.call("ListOrphans", pb.ListOrphansRequest(), timeout_s=_TIMEOUT_S)
            wanted = pb.ListVolumesRequest(state="faulty")
            faulty = client.call("ListVolumes", wanted, timeout_s=_TIMEOUT_S)
    except ClonepoolError as error:
        yield _away(error, settings)
        return
    yield good("engine", f"version {info.version} answers at {endpoint}, node {info.node}")
    for storage in info.storages:
        yield _driver(f"engine's storage {storage.name}", storage, "see storages in its settings")
    for fabric in info.fabrics:
        yield _driver(f"engine's fabric {fabric.name}", fabric, "see clonepool events")
    yield _orphans(orphans.orphans)
    yield _faulty(faulty.volumes)


def _away(error: ClonepoolError, settings: Settings) -> Check:
    if error.reason == "ENGINE_AWAY":
        return lacking("engine", f"none runs: {error}", f"clonepool serve ({settings.listen})")
    return broken("engine", str(error), "see its log")


def _orphans(found: Sequence[Any]) -> Check:
    if not found:
        return good("engine's orphans", "every object on its storages has its row")
    held = [orphan for orphan in found if orphan.held]
    detail = f"without a row: {len(found)}, held of them: {len(held)}; such as {found[0].name}"
    return lacking("engine's orphans", detail, "clonepool orphan list")


def _faulty(found: Sequence[Any]) -> Check:
    if not found:
        return good("engine's volumes", "none is faulty")
    detail = f"faulty: {len(found)}, such as {found[0].id}: {found[0].error}"
    mend = f"clonepool volume list --state faulty; then clonepool scrub run {found[0].pool}"
    return lacking("engine's volumes", detail, mend)


def _driver(title: str, driver: Any, mend: str) -> Check:
    if driver.error:
        return broken(title, f"{driver.driver}: {driver.error}", mend)
    return good(title, str(driver.driver))

"""What a preview says of stock. The program says it: a provider's hook can't tell it from an up.

The program knows that it is a preview, and by what is unknown whether a resource is made or
replaced, or an image changed. A changed pool looks like one that stays: it says nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from clonepool_resources.near_keys import near_misses
from pulumi_clonepool.settings import Settings, stack_settings

if TYPE_CHECKING:
    from clonepool_resources.stock import Remark, Stock
    from pulumi_clonepool.resource import ClonepoolResource

# the names that the engine is asked about
_NAMES = ("name", "pool")


def remark_on(resource: ClonepoolResource) -> None:
    """In a preview, say what stock a resource meets that is to be made or moved. Doesn't wait."""
    _warn_of_near_keys()
    if pulumi.runtime.is_dry_run():
        # as an output it is waited for before the program ends
        remark: Awaitable[Any] = _remark(resource)
        pulumi.Output.from_input(remark)


async def _remark(resource: ClonepoolResource) -> None:
    try:
        remarks = await _find_remarks(resource)
    except Exception:  # noqa: BLE001 - a resource that was refused tells so by itself
        return
    for remark in remarks:
        say = pulumi.log.warn if remark.is_short else pulumi.log.info
        say(remark.text, resource=None if remark.is_about_engine else resource)


async def _find_remarks(resource: ClonepoolResource) -> list[Remark]:
    declared = resource.declaration
    is_new = not await resource.id.is_known()
    version: pulumi.Output[int] | None = getattr(resource, "version", None)
    if not is_new and (version is None or await version.is_known()):
        return []
    inputs = {name: await _shown(getattr(resource, name, None)) for name in _NAMES}
    stock = _stock(stack_settings())
    ask = stock.of_create if is_new else stock.of_change
    found = (stock.of_switch(), await asyncio.to_thread(ask, declared, inputs))
    return [remark for remark in found if remark is not None]


def _warn_of_near_keys() -> None:
    """Of a stack's keys that are most likely meant as settings."""
    keys = (key.partition(":") for key in {**CONFIG.get(), **get_config_env()})
    for line in near_misses(name for namespace, _, name in keys if namespace == "clonepool"):
        _warn_once(line)


@functools.cache
def _warn_once(line: str) -> None:
    pulumi.log.warn(line)


async def _shown(output: pulumi.Output[str] | None) -> str | None:
    """A name that may be shown: None where it is unknown, secret or not there."""
    if output is None or await output.is_secret():
        return None
    return await output.future()


@functools.cache
def _stock(settings: Settings) -> Stock:
    # only a preview that makes something pays for the engine's messages
    from clonepool.api.client import EngineClient  # noqa: PLC0415
    from clonepool_resources.stock import CONNECT_WAIT_S, Stock  # noqa: PLC0415

    connect = functools.cache(
        lambda: EngineClient.connect(
            endpoint=settings.endpoint,
            token=settings.token,
            ca_file=settings.ca_file,
            connect_wait_s=CONNECT_WAIT_S,
        )
    )
    return Stock(connect, hold=settings.hold)

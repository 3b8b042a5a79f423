"""The checks across fields of each resource.

A rule sees the inputs as given, with the defaults filled in; a value that is not known yet is
there, as the ecosystem's own marker, so a rule asks for the type of what it looks into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clonepool.errors import FieldViolation, InvalidArgument
from clonepool.windows import parse_window
from clonepool_resources.types import Inputs, Kind, Value
from clonepool_resources.values import canonical

_SECTOR_BYTES = 512


def some_portion(inputs: Inputs) -> Iterator[FieldViolation]:
    """A master image has a portion."""
    if "read_only" not in inputs and "writable" not in inputs:
        yield FieldViolation(
            field="writable", description="give `read_only`, `writable` or both; neither is there"
        )


def whole_sectors(inputs: Inputs) -> Iterator[FieldViolation]:
    """A portion is grown to whole sectors."""
    for role in ("read_only", "writable"):
        portion = inputs.get(role)
        size = portion.get("size") if isinstance(portion, Mapping) else None
        size_bytes = canonical(size, Kind.SIZE)
        if isinstance(size_bytes, int) and size_bytes % _SECTOR_BYTES:
            yield FieldViolation(
                field=f"{role}.size",
                description=f"{size} is not a multiple of {_SECTOR_BYTES} bytes",
            )


def preconfigured_files(inputs: Inputs) -> Iterator[FieldViolation]:
    """Each preconfigured file has one origin, and a portion of the image to be written into."""
    files = inputs.get("preconfigure")
    for index, file in enumerate(files if isinstance(files, list) else ()):
        if not isinstance(file, Mapping):
            continue
        path = f"preconfigure[{index}]"
        if ("content" in file) == ("source" in file):
            yield FieldViolation(
                field=path, description="give exactly one of `content` and `source`"
            )
        portion = file.get("portion")
        if portion in ("read_only", "writable") and portion not in inputs:
            yield FieldViolation(
                field=f"{path}.portion", description=f"the image has no {portion} portion"
            )


def stock_fits(inputs: Inputs) -> Iterator[FieldViolation]:
    """The stock fits into the pool, and what is waited for into the stock."""
    most, stock = inputs.get("max_replicas"), inputs.get("min_ready")
    awaited = inputs.get("wait_for_ready")
    if _less(most, stock):
        yield FieldViolation(
            field="min_ready", description=f"{stock} is more than max_replicas, {most}"
        )
    if _less(stock, awaited):
        yield FieldViolation(
            field="wait_for_ready",
            description=f"{awaited} would never be reached: min_ready keeps {stock} in stock",
        )
    scrub = inputs.get("scrub")
    low = scrub.get("on_low_stock") if isinstance(scrub, Mapping) else None
    if _less(stock, low):
        yield FieldViolation(
            field="scrub.on_low_stock",
            description=f"{low} is more than min_ready keeps in stock, {stock}",
        )


def scrub_windows(inputs: Inputs) -> Iterator[FieldViolation]:
    """Each window is one that the engine understands."""
    scrub = inputs.get("scrub")
    texts = scrub.get("windows") if isinstance(scrub, Mapping) else None
    for index, text in enumerate(texts if isinstance(texts, list) else ()):
        if not isinstance(text, str):
            continue
        try:
            parse_window(text, field=f"scrub.windows[{index}]")
        except InvalidArgument as refused:
            yield from refused.violations


def one_server(inputs: Inputs) -> Iterator[FieldViolation]:
    """An attachment names its server in exactly one way."""
    ways = [way for way in ("server", "inline_server", "server_selector") if way in inputs]
    if len(ways) != 1:
        found = f"{' and '.join(ways)} are there" if ways else "none is there"
        yield FieldViolation(
            field=ways[1] if ways else "server",
            description=f"give exactly one of server, inline_server, server_selector; {found}",
        )
    selector = inputs.get("server_selector")
    if isinstance(selector, Mapping) and not selector:
        yield FieldViolation(field="server_selector", description="needs at least one label")


def chap_account(inputs: Inputs) -> Iterator[FieldViolation]:
    """A CHAP account is given whole with mode ``given``, and not at all otherwise."""
    chap = inputs.get("chap")
    if not isinstance(chap, Mapping) or not isinstance(chap.get("mode"), str):
        return
    given = chap["mode"] == "given"
    for part in ("username", "secret"):
        if given and part not in chap:
            yield FieldViolation(field=f"chap.{part}", description="is needed with mode given")
        if not given and part in chap:
            yield FieldViolation(
                field=f"chap.{part}", description=f"goes with mode given, not {chap['mode']}"
            )


def _less(smaller: Value, larger: Value) -> bool:
    """Whether both are numbers and the first is less: what is unknown or wrong is not judged."""
    return isinstance(smaller, int) and isinstance(larger, int) and smaller < larger

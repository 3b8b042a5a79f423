"""A forecast for people: as tables, or as Markdown for a comment on a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeGuard

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import words
from clonepool.units import format_duration, format_size

Rows = list[list[str]]
ATTACHMENTS: Final = ("attachment", "pool", "storage", "wait", "why")
POOLS: Final = ("pool", "ready", "released", "allocated", "scrub", "versions")
FAILURES: Final = ("fails", "reason", "what to do")


def summary(answer: pb.ForecastResponse, hold: pb.Hold | None = None) -> str:
    """The one line that says most; ``hold`` is the ticket that the plan counts on."""
    outcomes = [each.outcome for each in answer.attachments]
    parts = [f"{outcomes.count('warm')} of {words.count(len(outcomes), 'attachment')} warm"]
    held = sum(each.held for each in answer.attachments)
    if hold is not None and held:
        share = "" if held == outcomes.count("warm") else f"{held} of them "
        parts.append(f"{share}held until {words.until(hold.expires_at)}")
    for outcome, verb in (("waits", "wait"), ("unknown", "not known yet")):
        if outcomes.count(outcome):
            parts.append(f"{outcomes.count(outcome)} {verb}")
    scrubbed_bytes = sum(pool.scrubbed_bytes for pool in answer.pools)
    if any(pool.scrubbed for pool in answer.pools):
        scrubbed = sum(pool.scrubbed for pool in answer.pools)
        parts.append(f"{words.count(scrubbed, 'volume')} ({format_size(scrubbed_bytes)}) scrubbed")
    if answer.failures:
        parts.append(f"{words.count(len(answer.failures), 'failure')}")
    return ", ".join(parts)


def attachment_rows(answer: pb.ForecastResponse) -> Rows:
    """One row for each attachment that is made."""
    return [
        [
            each.label or each.name,
            each.pool,
            _outcome(each),
            f"about {format_duration(each.wait_s)}" if each.HasField("wait_s") else "",
            each.reason or each.estimate,
        ]
        for each in answer.attachments
    ]


def pool_rows(answer: pb.ForecastResponse) -> Rows:
    """One row for each pool that the plan touches."""
    return [
        [
            _pool_name(pool),
            _step(pool.before.ready, pool.after.ready) + _held(pool),
            f"{_step(pool.before.released, pool.after.released)} (threshold {pool.threshold})",
            _step(pool.before.allocated, pool.after.allocated),
            _scrub(pool),
            _versions(pool),
        ]
        for pool in answer.pools
    ]


def failure_rows(answer: pb.ForecastResponse) -> Rows:
    """One row for each thing that will not work."""
    return [[each.label or each.subject, each.reason, each.text] for each in answer.failures]


def image_lines(answer: pb.ForecastResponse) -> list[str]:
    """What becomes of images."""
    lines = []
    for image in answer.images:
        if image.deleted:
            lines.append(f"image {image.name}: deleted")
        elif image.new_version:
            lines.append(f"image {image.name}: version {image.version} is imported")
    return lines


def is_used(hold: pb.Hold | None, answer: pb.ForecastResponse) -> TypeGuard[pb.Hold]:
    """Whether the plan takes any of what the ticket holds; where not, it is no use to bring it."""
    return hold is not None and any(each.held for each in answer.attachments)


def use_of(hold: pb.Hold, apply: str) -> str:
    """The command line that takes what is held."""
    return f"CLONEPOOL_HOLD={hold.id} {apply}"


def markdown(
    answer: pb.ForecastResponse,
    notes: Sequence[str],
    *,
    hold: pb.Hold | None = None,
    apply: str = "",
) -> str:
    """The whole forecast as Markdown; ``apply`` is what carries out the plan."""
    parts = [f"### Clonepool: {summary(answer, hold)}"]
    for columns, rows in (
        (FAILURES, failure_rows(answer)),
        (ATTACHMENTS, attachment_rows(answer)),
        (POOLS, pool_rows(answer)),
    ):
        if rows:
            parts.append(_markdown_table(columns, rows))
    lines = [*image_lines(answer), *closing_lines(answer), *notes]
    parts.append("\n".join(f"- {_escaped(line)}" for line in lines))
    if is_used(hold, answer):
        parts.append(f"Use what is held:\n\n```sh\n{use_of(hold, apply)}\n```")
    return "\n\n".join(part for part in parts if part)


def closing_lines(answer: pb.ForecastResponse) -> list[str]:
    """What holds for the whole plan."""
    if answer.deletes_skipped:
        return ["a create fails, so the deletions of this plan are not done"]
    return []


def _markdown_table(columns: Sequence[str], rows: Rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(text: str) -> str:
    # names and reasons come from elsewhere: they must not become markup in somebody's comment
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _outcome(each: pb.AttachmentForecast) -> str:
    if each.held:
        return f"{each.outcome}, held"
    return f"{each.outcome}, place {each.place}" if each.place else each.outcome


def _held(pool: pb.PoolForecast) -> str:
    if not pool.before.held and not pool.after.held:
        return ""
    return f" ({_step(pool.before.held, pool.after.held)} held)"


def _pool_name(pool: pb.PoolForecast) -> str:
    state = "created" if pool.created else "deleted" if pool.deleted else ""
    return f"{pool.name} ({state})" if state else pool.name


def _step(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} -> {after}"


def _scrub(pool: pb.PoolForecast) -> str:
    if not pool.scrubbed:
        return "no"
    least, most = pool.scrubbed_at_least, pool.scrubbed
    number = words.count(most, "volume") if least == most else f"{least} to {most} volumes"
    what = f"{number}, {format_size(pool.scrubbed_bytes)}"
    return f"{what}: {pool.recycled} reused, {pool.destroyed} destroyed"


def _versions(pool: pb.PoolForecast) -> str:
    parts = [f"{pool.image_version} is current"] if pool.image_version else []
    if pool.stale_replaced:
        parts.append(f"{pool.stale_replaced} stale replaced")
    if pool.servers_on_old_version:
        parts.append(f"{words.count(pool.servers_on_old_version, 'server')} keep an old one")
    return ", ".join(parts)

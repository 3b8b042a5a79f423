"""Holds: ready replicas kept for whoever brings a ticket, and what may be held at all.

A hold counts replicas and pins none: nothing is assigned, so nothing must be given back.
"""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.errors import ResourceExhausted
from clonepool.units import format_duration


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """So many ready replicas of one pool, by its name."""

    pool: str
    count: int


@dataclass(frozen=True, kw_only=True)
class HeldStock:
    """What a ticket holds of one pool; ``remaining`` is what nobody has taken by it yet."""

    pool: str
    count: int
    remaining: int


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A pool of which a ticket got nothing, and why."""

    pool: str
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One ticket; ``refused`` is told only to who asked for it."""

    id: str
    owner: str
    pools: tuple[HeldStock, ...]
    created_at: float
    expires_at: float
    refused: tuple[Refused, ...] = ()

    @property
    def remaining(self) -> int:
        """What is left of it in all its pools."""
        return sum(stock.remaining for stock in self.pools)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may be held of a pool at once, by how many tickets, and for how long."""

    max_share_percent: int
    max_duration_s: float
    max_tickets: int


@dataclass(frozen=True, kw_only=True)
class PoolStock:
    """What of a pool matters to a new hold; ``ready`` ones are of the current image version."""

    max_replicas: int
    ready: int
    held: int
    waiting: int
    tickets: int


def most_held(limits: Limits, *, max_replicas: int) -> int:
    """How many replicas of a pool may be held at once; one always may."""
    return max(1, max_replicas * limits.max_share_percent // 100)


def check(wanted: Wanted, stock: PoolStock, limits: Limits) -> None:
    """Raise ResourceExhausted, with the figures, where a pool can't spare so many."""
    figures = {
        "ready": stock.ready,
        "held": stock.held,
        "waiting": stock.waiting,
        "tickets": stock.tickets,
    }
    metadata = {name: str(number) for name, number in figures.items()}
    for reason, text in (
        _too_many_tickets(wanted, stock, limits),
        _too_much(wanted, stock, limits),
        _too_little(wanted, stock),
    ):
        if text:
            raise ResourceExhausted(text, reason=reason, metadata=metadata)


def _too_many_tickets(wanted: Wanted, stock: PoolStock, limits: Limits) -> tuple[str, str]:
    if stock.tickets < limits.max_tickets:
        return "HOLD_TICKETS", ""
    text = (
        f"pool {wanted.pool} has {stock.tickets} open tickets, and no more than "
        f"{limits.max_tickets} are given; release one (`clonepool hold list --pool {wanted.pool}`, "
        "`clonepool hold release ID`), or wait until one expires"
    )
    return "HOLD_TICKETS", text


def _too_much(wanted: Wanted, stock: PoolStock, limits: Limits) -> tuple[str, str]:
    most = most_held(limits, max_replicas=stock.max_replicas)
    if stock.held + wanted.count <= most:
        return "HOLD_QUOTA", ""
    text = (
        f"at most {most} of pool {wanted.pool} may be held at once ({limits.max_share_percent}% of "
        f"max_replicas {stock.max_replicas}), {stock.held} are, {wanted.count} more are asked for; "
        f"ask for fewer, release a ticket (`clonepool hold list --pool {wanted.pool}`), or raise "
        "max_replicas"
    )
    return "HOLD_QUOTA", text


def _too_little(wanted: Wanted, stock: PoolStock) -> tuple[str, str]:
    free = max(0, stock.ready - stock.held - stock.waiting)
    if wanted.count <= free:
        return "HOLD_STOCK", ""
    text = (
        f"pool {wanted.pool} has {free} ready replicas to hold ({stock.ready} ready, {stock.held} "
        f"held, {stock.waiting} waited for), {wanted.count} are asked for; ask for fewer, or again "
        "when the pool has refilled, or raise min_ready"
    )
    return "HOLD_STOCK", text


def too_long(limits: Limits, *, duration_s: float) -> str:
    """Why a hold can't last so long; "" where it can."""
    if duration_s <= limits.max_duration_s:
        return ""
    return (
        f"{format_duration(duration_s)} is longer than a hold may last, "
        f"{format_duration(limits.max_duration_s)} (the engine's holds.max_duration)"
    )

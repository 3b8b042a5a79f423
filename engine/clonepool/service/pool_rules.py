"""What a declared replica pool must be, and what may be held of some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    CloneMode,
    ScrubMethod,
    VerifyMode,
    WhenEmpty,
)
from clonepool.errors import InvalidArgument
from clonepool.service.findings import Findings
from clonepool.units import MAX_DURATION_S
from clonepool.windows import parse_window

_WINDOWS_LIMIT: Final = 100
_HELD_POOLS_LIMIT: Final = 100


def pool(spec: pb.PoolSpec, findings: Findings) -> None:
    """A replica pool as declared."""
    findings.name(spec.name, "name")
    findings.name(spec.master_image, "master_image")
    findings.optional_name(spec.fabric, "fabric")
    findings.choice(spec.clone_mode, CloneMode, "clone_mode")
    findings.choice(spec.when_empty, WhenEmpty, "when_empty")
    findings.not_negative(spec.image_version, "image_version")
    findings.not_negative(spec.max_unavailable, "rollout.max_unavailable")
    _pool_sizes(spec, findings)
    _scrub(spec.scrub, findings)


def _pool_sizes(spec: pb.PoolSpec, findings: Findings) -> None:
    for field in ("max_replicas", "min_ready", "wait_for_ready"):
        findings.not_negative(getattr(spec, field), field)
    largest = max(spec.max_replicas, 0) or 100
    stock = max(spec.min_ready, 0) if spec.HasField("min_ready") else 1
    findings.require(stock <= largest, "min_ready", f"{stock} is more than max_replicas, {largest}")
    findings.require(
        spec.wait_for_ready <= stock,
        "wait_for_ready",
        f"{spec.wait_for_ready} is never reached: min_ready is {stock}",
    )
    # above it, stock would always be low, and every release scrubbed at once
    findings.require(
        spec.scrub.on_low_stock <= stock,
        "scrub.on_low_stock",
        f"{spec.scrub.on_low_stock} is more than the pool keeps ready: min_ready is {stock}",
    )


def _scrub(policy: pb.ScrubPolicy, findings: Findings) -> None:
    findings.require(
        policy.threshold >= 0, "scrub.threshold", f"{policy.threshold} must be at least 1"
    )
    findings.choice(policy.method, ScrubMethod, "scrub.method")
    findings.choice(policy.then, AfterScrub, "scrub.then")
    findings.choice(policy.verify, VerifyMode, "scrub.verify")
    findings.choice(policy.assurance, Assurance, "scrub.assurance")
    findings.not_negative(policy.max_bytes, "scrub.max_bytes")
    findings.not_negative(policy.on_low_stock, "scrub.on_low_stock")
    for field in ("max_age", "undo_window"):
        seconds = getattr(policy, f"{field}_s")
        findings.require(
            0 <= seconds <= MAX_DURATION_S, f"scrub.{field}", f"{seconds:g} s is no such duration"
        )
    windows(policy.windows, findings)


def windows(texts: Sequence[str], findings: Findings, *, prefix: str = "") -> None:
    """Times of a week in which a pool may be scrubbed; ``prefix`` is of the field's path."""
    findings.require(
        len(texts) <= _WINDOWS_LIMIT, f"{prefix}scrub.windows", f"at most {_WINDOWS_LIMIT} windows"
    )
    for index, text in enumerate(texts[:_WINDOWS_LIMIT]):
        field = f"{prefix}scrub.windows[{index}]"
        try:
            parse_window(text, field=field)
        except InvalidArgument as refused:
            findings.add(field, refused.violations[0].description)


def held_pools(pools: Sequence[pb.HeldStock], findings: Findings) -> None:
    """Which pools a hold is of, each once, and how many replicas of each."""
    in_range = 1 <= len(pools) <= _HELD_POOLS_LIMIT
    findings.require(in_range, "pools", f"must be 1 to {_HELD_POOLS_LIMIT} pools")
    seen: set[str] = set()
    for index, wanted in enumerate(pools[:_HELD_POOLS_LIMIT]):
        field = f"pools[{index}]"
        findings.name(wanted.pool, f"{field}.pool")
        findings.require(wanted.pool not in seen, f"{field}.pool", "is named more than once")
        findings.require(wanted.count >= 1, f"{field}.count", f"{wanted.count} must be at least 1")
        seen.add(wanted.pool)

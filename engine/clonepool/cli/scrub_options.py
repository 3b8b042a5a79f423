"""A pool's scrub policy on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import words
from clonepool.cli.counts import Count
from clonepool.units import format_duration, parse_duration, parse_size


@dataclass(frozen=True, kw_only=True)
class ScrubOptions:
    """When and how released volumes are erased.

    Parameters
    ----------
    scrub_threshold
        At how many released volumes to scrub them all (default 10).
    scrub_max_age
        Scrub too when the oldest was released so long ago, such as 7d.
    scrub_max_bytes
        Scrub too when the released volumes are so large together, such as 1TiB.
    scrub_low_stock
        Scrub too when fewer are ready than this, at most min-ready, and no more clones fit.
    scrub_window
        When scrubbing may run, UTC: 22:00-06:00, or "mon-fri 22:00-06:00"; may be repeated.
    scrub_method
        reformat (the default), zero or discard.
    verify
        How much to read back after a scrub: none (the default), sample or full.
    assurance
        What a scrub must promise of the medium: clear (the default) or purge.
    after_scrub
        recycle (the default) or destroy.
    undo_window
        How long a released volume is left alone, so that its release can be undone (default 0s).

    """

    scrub_threshold: Count = 0
    scrub_max_age: str = ""
    scrub_max_bytes: str = ""
    scrub_low_stock: Count = 0
    scrub_window: tuple[str, ...] = ()
    scrub_method: str = ""
    verify: str = ""
    assurance: str = ""
    after_scrub: str = ""
    undo_window: str = ""

    def policy(self) -> pb.ScrubPolicy:
        """The message. Raises InvalidArgument naming the option."""
        size = self.scrub_max_bytes
        return pb.ScrubPolicy(
            threshold=self.scrub_threshold,
            method=self.scrub_method,
            then=self.after_scrub,
            max_age_s=parse_duration(self.scrub_max_age or "0s", field="--scrub-max-age"),
            max_bytes=parse_size(size, field="--scrub-max-bytes") if size else 0,
            verify=self.verify,
            undo_window_s=parse_duration(self.undo_window or "0s", field="--undo-window"),
            windows=self.scrub_window,
            assurance=self.assurance,
            on_low_stock=self.scrub_low_stock,
        )


def scrub_text(policy: Any) -> str:
    """``at 10 released or 7d after a release, reformat, then recycle``."""
    causes = [f"at {policy.threshold} released"]
    if policy.max_bytes:
        causes.append(f"at {words.size(policy.max_bytes)}")
    if policy.max_age_s:
        causes.append(f"{format_duration(policy.max_age_s)} after a release")
    if policy.on_low_stock:
        causes.append(f"below {policy.on_low_stock} ready")
    parts = [" or ".join(causes), policy.method]
    if policy.verify != "none":
        parts.append(f"read back ({policy.verify})")
    parts.append(f"then {policy.then}")
    if policy.undo_window_s:
        parts.append(f"undo window {format_duration(policy.undo_window_s)}")
    return ", ".join(parts)

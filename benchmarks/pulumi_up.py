"""`pulumi up` of attachments by the dynamic classes, against dynamic resources that do nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.needs import need_pulumi, need_tgt
from benchmarks.stacks import (
    FULL,
    QUICK,
    SMOKE,
    Comparison,
    Sizes,
    measure,
    pulumi_floor,
    python_stack,
)

NAME = "pulumi_up"
__all__ = ["FULL", "NAME", "QUICK", "SMOKE", "run"]
_PROGRAM = """
import pulumi_clonepool as clonepool

for number in range({count}):
    clonepool.ServerStorageAttachment(
        f"attachment-{{number}}",
        pool="{pool}",
        inline_server={{
            "name": f"{pool}-{{number}}",
            "initiator": f"iqn.2026-01.example:{pool}-{{number}}",
        }},
    )
"""


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Preview, up and destroy of both stacks; in between the pool is scrubbed full again."""
    need_tgt()
    pulumi_bin = need_pulumi()
    comparison = Comparison(
        benchmark=NAME,
        command="pulumi",
        floor=lambda folder, count: pulumi_floor(folder, pulumi_bin, count=count),
        subject=lambda folder, site: python_stack(
            folder,
            pulumi_bin,
            _PROGRAM.format(count=site.count, pool=site.pool),
            endpoint=site.endpoint,
        ),
    )
    return measure(comparison, scratch=scratch, sizes=sizes)

"""`pulumi up` of attachments by the plugin, from YAML; its floor is that of the dynamic classes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.needs import need_pulumi, need_tgt, need_yaml
from benchmarks.stacks import (
    FULL,
    QUICK,
    SMOKE,
    Comparison,
    PulumiStack,
    Sizes,
    StackSite,
    measure,
    pulumi_floor,
)
from tests.support.plugin_project import YamlProject, write_launcher

NAME = "plugin_up"
__all__ = ["FULL", "NAME", "QUICK", "SMOKE", "run"]
_RESOURCE = """
  attachment-{number}:
    type: clonepool:ServerStorageAttachment
    properties:
      pool: {pool}
      inlineServer:
        name: {pool}-{number}
        initiator: iqn.2026-01.example:{pool}-{number}
"""


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Preview, up and destroy of both stacks; in between the pool is scrubbed full again."""
    need_tgt()
    pulumi_bin, yaml_bin = need_pulumi(), need_yaml()
    folders = [write_launcher(scratch / "plugin"), yaml_bin]

    def stack(folder: Path, site: StackSite) -> PulumiStack:
        project = YamlProject(
            folder=folder,
            pulumi_bin=pulumi_bin,
            name=folder.name,
            plugin_folders=folders,
            variables={"CLONEPOOL_ENDPOINT": site.endpoint},
        )
        project.create(_program(site))
        return PulumiStack(project)

    comparison = Comparison(
        benchmark=NAME,
        command="plugin",
        floor=lambda folder, count: pulumi_floor(folder, pulumi_bin, count=count),
        subject=stack,
    )
    return measure(comparison, scratch=scratch, sizes=sizes)


def _program(site: StackSite) -> str:
    resources = (_RESOURCE.format(number=number, pool=site.pool) for number in range(site.count))
    return "resources:" + "".join(resources)

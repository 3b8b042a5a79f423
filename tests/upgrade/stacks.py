"""The three stacks whose states are recorded: the same words then and now, so a plan is empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.plugin_project import YamlProject
from tests.support.pulumi_project import PulumiProject
from tests.terraform.project import TerraformProject

DYNAMIC = """
import pulumi
import pulumi_clonepool as clonepool

config = pulumi.Config()
image = clonepool.MasterImage(
    "web",
    name="web",
    system_user={"name": "acme", "kind": "customer"},
    read_only={"source": config.require("base")},
    writable={"source": config.require("image"), "size": "16MiB"},
    labels={"tier": "front"},
)
pool = clonepool.ReplicaPool(
    "web",
    name="web",
    master_image=image,
    min_ready=config.get_int("ready") or 2,
    wait_for_ready=2,
    scrub={"threshold": 2},
)
for name in config.require("servers").split():
    made = clonepool.ServerStorageAttachment(
        name,
        name=name,
        pool=pool,
        inline_server={"name": name, "initiator": f"iqn.2026-01.test.clonepool:{name}"},
    )
    pulumi.export(name, {"volume": made.volume, "secret": made.chap_secret})
"""
PLUGIN = """
resources:
  server:
    type: clonepool:Server
    properties:
      name: yaml
      initiator: iqn.2026-01.test.clonepool:yaml
      labels: { rack: r1 }
  storage:
    type: clonepool:ServerStorageAttachment
    properties:
      name: yaml
      pool: web
      server: ${server.name}
      chap: { mode: given, username: yaml-user, secret: a-secret-of-its-own }
outputs:
  volume: ${storage.volume}
"""
TERRAFORM = """
variable "base" { type = string }
variable "image" { type = string }

resource "clonepool_master_image" "shared" {
  name      = "shared"
  read_only = { source = var.base }
  writable  = { source = var.image }
}

resource "clonepool_replica_pool" "shared" {
  name         = "shared"
  master_image = clonepool_master_image.shared.name
  min_ready    = 1
  scrub        = { threshold = 3, method = "zero", then = "destroy" }
}

resource "clonepool_server_storage_attachment" "tf" {
  name          = "tf"
  pool          = clonepool_replica_pool.shared.name
  system_user   = { name = "billing", kind = "application" }
  inline_server = { name = "tf", initiator = "iqn.2026-01.test.clonepool:tf" }
}
"""


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """The three of them, on one engine."""

    dynamic: PulumiProject
    plugin: YamlProject
    terraform: TerraformProject


def lay_out(
    folder: Path,
    *,
    endpoint: str,
    sources: Mapping[str, str],
    pulumi_bin: Path,
    plugin_folders: tuple[Path, ...],
    terraform: str,
    terraform_home: Path,
) -> Stacks:
    """Write the three programs and make their stacks; nothing is applied."""
    common: dict[str, Any] = {
        "pulumi_bin": pulumi_bin,
        "plugin_folders": plugin_folders,
        "variables": {"CLONEPOOL_ENDPOINT": endpoint},
    }
    dynamic = PulumiProject(folder=folder / "dynamic", name="recorded", **common)
    dynamic.create(DYNAMIC)
    for name, url in sources.items():
        dynamic.run("config", "set", name, url)
    plugin = YamlProject(folder=folder / "plugin", name="recorded-yaml", **common)
    plugin.create(PLUGIN)
    variables = {f"TF_VAR_{name}": url for name, url in sources.items()}
    third = TerraformProject(
        folder=folder / "terraform",
        home=terraform_home,
        terraform=terraform,
        variables={"CLONEPOOL_ENDPOINT": endpoint, **variables},
    )
    third.init(TERRAFORM)
    return Stacks(dynamic=dynamic, plugin=plugin, terraform=third)

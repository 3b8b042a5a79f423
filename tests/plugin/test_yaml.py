"""YAML programs on the plugin: the real command line, a real engine, real volumes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.plugin_project import YamlProject
from tests.support.site import Master, Site

pytestmark = [pytest.mark.pulumi, pytest.mark.pulumi_yaml, pytest.mark.slow]

MakeYaml = Callable[..., YamlProject]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/pulumi-yaml/Pulumi.yaml"
PROGRAM = """
resources:
  image:
    type: clonepool:MasterImage
    properties:
      systemUser: {name: acme, kind: customer}
      readOnly: {source: BASE}
      writable: {source: IMAGE, size: 16MiB}
      labels: {os_family: debian}
  pool:
    type: clonepool:ReplicaPool
    properties: {masterImage: "${image.name}", fabric: local, minReady: 2, waitForReady: 2}
  web1:
    type: clonepool:Server
  storage:
    type: clonepool:ServerStorageAttachment
    properties: {pool: "${pool.name}", server: "${web1.name}"}
variables:
  stock:
    fn::invoke:
      function: clonepool:getPool
      arguments: {name: "${pool.id}"}
outputs:
  volume: ${storage.volume}
  path: ${storage.connection.volumes[1].path}
  image: ${image.name}
  pool: ${pool.name}
  poolId: ${pool.id}
  fabric: ${stock.fabric}
"""


@pytest.fixture(scope="module")
def master(site: Site) -> Master:
    return site.image()


@pytest.fixture
def program(master: Master) -> str:
    return PROGRAM.replace("BASE", str(master.read_only)).replace("IMAGE", str(master.writable))


def steps(project: YamlProject) -> dict[str, str]:
    """What a preview would do, by the resource's name."""
    plan = project.read_json("preview")
    return {
        step["urn"].rsplit("::", 1)[1]: step["op"]
        for step in plan["steps"]
        if "clonepool" in step["urn"] and step["op"] != "same"
    }


def up(project: YamlProject, *words: str) -> str:
    return project.run("up", "--skip-preview", *words).text


def pool_of(site: Site, name: str) -> Any:
    return site.call("GetPool", pb.GetRequest(name=name))


def test_the_life_of_a_yaml_stack(make_yaml: MakeYaml, site: Site, program: str) -> None:
    """Preview, up, up again, a change in place, drift, a replacement, destroy."""
    project = make_yaml(program, endpoint=site.engine.endpoint)

    preview = project.run("preview", "--diff").text
    assert "+ 5 to create" in preview
    assert 'size  : "16MiB"' in preview
    assert 'os_family: "debian"' in preview

    assert ": importing" in up(project)
    outputs = project.outputs()
    assert outputs["path"].endswith("/writable")
    assert outputs["image"].startswith("image-")
    assert "local" == outputs["fabric"]
    assert {} == steps(project)

    # another spelling of a size is no change; a new stock is one in place
    project.write(program.replace("16MiB", "16384KiB").replace("minReady: 2", "minReady: 3"))
    assert {"pool": "update"} == steps(project)
    assert "~ minReady: 2 => 3" in up(project, "--diff")
    assert (outputs["poolId"], 3) == (
        pool_of(site, outputs["pool"]).id,
        pool_of(site, outputs["pool"]).spec.min_ready,
    )

    spec = pool_of(site, outputs["pool"]).spec
    spec.max_replicas = 50
    site.call("UpdatePool", pb.UpdatePoolRequest(id=outputs["poolId"], spec=spec))
    assert "~ maxReplicas: 100 => 50" in project.run("refresh", "--skip-preview", "--diff").text
    assert {"pool": "update"} == steps(project)
    up(project)
    assert 100 == pool_of(site, outputs["pool"]).spec.max_replicas

    # whose image it is can't change in place: all that hangs on it goes before it, and in order
    project.write(program.replace("acme", "other").replace("minReady: 2", "minReady: 3"))
    planned = project.run("preview", "--diff").text
    assert 'name: "acme" => "other"' in planned
    assert "+-3 to replace" in planned
    up(project)
    after = project.outputs()
    assert outputs["volume"] != after["volume"]
    assert outputs["poolId"] != after["poolId"]
    assert {} == steps(project)

    project.run("destroy", "--skip-preview")
    left = [pool.spec.name for pool in site.call("ListPools", pb.ListRequest()).pools]
    assert after["pool"] not in left


def test_the_yaml_example(make_yaml: MakeYaml, site: Site, master: Master) -> None:
    """As it stands, on the local fabric; a second preview finds nothing to do."""
    project = make_yaml("resources: {}\n", endpoint=site.engine.endpoint)
    shutil.copyfile(EXAMPLE, project.folder / "program/Pulumi.yaml")
    project = dataclasses.replace(project, stack="example")
    project.run("stack", "init", project.stack)
    project.run("config", "set", "image", str(master.writable))
    project.run("config", "set", "fabric", "local")

    assert "+ 4 to create" in project.run("preview").text
    up(project)
    assert project.outputs()["connection"]["volumes"][0]["path"].endswith("/writable")
    assert {} == steps(project)
    project.run("destroy", "--skip-preview")

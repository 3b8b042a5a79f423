"""YAML programs on the plugin: the real command line, a real engine, real volumes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
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


@pytest.fixture
def project(make_yaml: MakeYaml, site: Site, program: str) -> Iterator[YamlProject]:
    """A stack that is there; what a test leaves of it goes with it."""
    made = make_yaml(program, endpoint=site.engine.endpoint)
    up(made)
    yield made
    made.run("destroy", "--skip-preview")


def test_a_preview_says_what_an_up_then_does(make_yaml: MakeYaml, site: Site, program: str) -> None:
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

    project.run("destroy", "--skip-preview")
    left = [pool.spec.name for pool in site.call("ListPools", pb.ListRequest()).pools]
    assert outputs["pool"] not in left


def test_a_change_is_made_in_place_and_another_spelling_is_none(
    project: YamlProject, site: Site, program: str
) -> None:
    outputs = project.outputs()
    project.write(program.replace("16MiB", "16384KiB").replace("minReady: 2", "minReady: 3"))

    assert {"pool": "update"} == steps(project)
    assert "~ minReady: 2 => 3" in up(project, "--diff")

    pool = pool_of(site, outputs["pool"])
    assert (outputs["poolId"], 3) == (pool.id, pool.spec.min_ready)


def test_a_refresh_sees_drift_and_the_next_up_mends_it(project: YamlProject, site: Site) -> None:
    outputs = project.outputs()
    spec = pool_of(site, outputs["pool"]).spec
    spec.max_replicas = 50
    site.call("UpdatePool", pb.UpdatePoolRequest(id=outputs["poolId"], spec=spec))

    assert "~ maxReplicas: 100 => 50" in project.run("refresh", "--skip-preview", "--diff").text
    assert {"pool": "update"} == steps(project)
    up(project)
    assert 100 == pool_of(site, outputs["pool"]).spec.max_replicas


def test_a_replacement_takes_what_hangs_on_it_along(project: YamlProject, program: str) -> None:
    """Whose image it is can't change in place; pool and attachment go before it, and in order."""
    before = project.outputs()
    project.write(program.replace("acme", "other"))

    planned = project.run("preview", "--diff").text
    assert 'name: "acme" => "other"' in planned
    assert "+-3 to replace" in planned

    up(project)
    after = project.outputs()
    assert before["volume"] != after["volume"]
    assert before["poolId"] != after["poolId"]
    assert {} == steps(project)


def test_what_is_there_is_imported(project: YamlProject, site: Site, program: str) -> None:
    """By the command line, with all that a program would have said; the next preview is empty."""
    server = pb.ServerSpec(name="web9", labels={"os_family": "debian"})
    made = site.call("CreateServer", pb.CreateServerRequest(spec=server, request_token="mine"))
    words = ("clonepool:index:Server", "web9", made.id, "--generate-code=false", "--protect=false")

    assert "= 1 imported" in project.run("import", *words).text
    added = "  web9:\n    type: clonepool:Server\n    properties: {labels: {os_family: debian}}\n"
    project.write(program.replace("variables:", f"{added}variables:"))
    assert {} == steps(project)


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

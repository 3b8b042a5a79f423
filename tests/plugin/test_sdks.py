"""The SDKs made from schema.json: they compile, and their programs run on the plugin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.plugin import sdks
from tests.support.plugin_project import NodeProject
from tests.support.pulumi_project import PulumiProject
from tests.support.site import Master, Site
from tools import node_modules

pytestmark = [pytest.mark.gensdk, pytest.mark.slow]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PYTHON = """
import clonepool_sdk as clonepool
import pulumi

config = pulumi.Config()
image = clonepool.MasterImage(
    "web",
    system_user={"name": "acme", "kind": clonepool.SystemUserKind.CUSTOMER},
    read_only={"source": config.require("base")},
    writable=clonepool.ImagePortionArgs(source=config.require("image"), size="16MiB"),
)
pool = clonepool.ReplicaPool("web", master_image=image.name, fabric="local", min_ready=2)
server = clonepool.Server("web1", name="sdk-web1", opts=OPTIONS)
storage = clonepool.ServerStorageAttachment(
    "web1",
    pool=pool.name,
    server=server.name,
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="1m")),
)
pulumi.export("path", storage.connection.volumes[1].path)
pulumi.export("pool", pool.name)
pulumi.export("ready", clonepool.get_pool_output(name=pool.id).min_ready)
pulumi.export("digest", image.digests.writable)
"""


@pytest.fixture(scope="module")
def master(site: Site) -> Master:
    return site.image()


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``node_modules`` with the compiled SDK."""
    out = tmp_path_factory.mktemp("typescript")
    return sdks.typescript_sdk(out, node_modules=node_modules.ensure())


@pytest.mark.pulumi
def test_the_life_of_a_program_on_the_generated_python_sdk(
    tmp_path: Path, pulumi_bin: Path, plugin_bin: Path, site: Site, master: Master
) -> None:
    """A server that is there is imported; then preview, up, refresh, update, destroy."""
    server = pb.ServerSpec(name="sdk-web1")
    found = site.call("CreateServer", pb.CreateServerRequest(spec=server, request_token="mine"))
    project = PulumiProject(
        folder=tmp_path / "pulumi",
        pulumi_bin=pulumi_bin,
        plugin_folders=[plugin_bin],
        variables={
            "CLONEPOOL_ENDPOINT": site.engine.endpoint,
            "PYTHONPATH": sdks.search_path(sdks.python_sdk(tmp_path / "sdk")),
        },
    )
    importing = PYTHON.replace("OPTIONS", f"pulumi.ResourceOptions(import_={found.id!r})")
    program = PYTHON.replace("OPTIONS", "None")
    project.create(importing)
    project.run("config", "set", "base", str(master.read_only))
    project.run("config", "set", "image", str(master.writable))

    assert "+ 4 to create" in project.run("preview").text
    assert "= 1 imported" in project.run("up", "--skip-preview").text
    outputs = project.outputs()
    assert outputs["path"].endswith("/writable")
    assert (2, True) == (outputs["ready"], bool(outputs["digest"]))

    project.write(program)
    assert "5 unchanged" in project.run("preview", "--expect-no-changes").text
    assert "5 unchanged" in project.run("refresh", "--skip-preview").text
    project.write(program.replace("min_ready=2", "min_ready=3"))
    assert "~ 1 updated" in project.run("up", "--skip-preview").text
    pool = site.call("GetPool", pb.GetRequest(name=outputs["pool"]))
    assert 3 == pool.spec.min_ready

    project.run("destroy", "--skip-preview")
    assert [] == list(site.call("ListAttachments", pb.ListRequest()).attachments)


@pytest.mark.go
def test_the_generated_go_sdk_compiles_and_the_example_on_it(tmp_path: Path) -> None:
    module = sdks.go_sdk(tmp_path / "sdk")
    shutil.copyfile(EXAMPLES / "pulumi-go/main.go", module / "main.go")

    sdks.run(["go", "build", "-mod=readonly", "-o", str(tmp_path / "program"), "."], cwd=module)


@pytest.mark.npm
def test_the_generated_typescript_sdk_compiles_and_the_example_on_it(
    tmp_path: Path, typescript: Path
) -> None:
    program = tmp_path / "program"
    shutil.copytree(EXAMPLES / "pulumi-typescript", program)
    (program / "node_modules").symlink_to(typescript)

    sdks.run([str(typescript / ".bin/tsc"), "--noEmit"], cwd=program)


@pytest.mark.npm
@pytest.mark.go
@pytest.mark.pulumi
def test_the_typescript_example(
    tmp_path: Path,
    pulumi_bin: Path,
    plugin_bin: Path,
    node_bin: Path,
    typescript: Path,
    site: Site,
    master: Master,
) -> None:
    """Preview, up, a second up that finds nothing to do, destroy."""
    project = NodeProject(
        folder=tmp_path / "pulumi",
        pulumi_bin=pulumi_bin,
        plugin_folders=[plugin_bin, node_bin],
        variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
        modules=typescript,
    )
    project.lay_out(EXAMPLES / "pulumi-typescript")
    project.run("config", "set", "image", str(master.writable))
    project.run("config", "set", "fabric", "local")

    assert "+ 4 to create" in project.run("preview").text
    project.run("up", "--skip-preview")
    outputs = project.outputs()
    assert outputs["connection"]["volumes"][0]["path"].endswith("/writable")
    assert ("", 1) <= (outputs["chapSecret"], outputs["ready"])
    assert "4 unchanged" in project.run("preview", "--expect-no-changes").text
    project.run("destroy", "--skip-preview")

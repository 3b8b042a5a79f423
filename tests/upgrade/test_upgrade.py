"""What an earlier version left is opened and migrated, and nobody's plan shows a change."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.testing.engine_process import EngineProcess
from tests.plugin.conftest import plugin_bin, yaml_bin
from tests.support.invariants import check_invariants
from tests.support.site import BLOCK_BYTES, RW_LUN, Site, log_in
from tests.terraform.conftest import terraform, terraform_home, tofu
from tests.upgrade.recording import Recording, describe, marker, recordings
from tests.upgrade.stacks import Stacks, lay_out

__all__ = ["plugin_bin", "terraform", "terraform_home", "tofu", "yaml_bin"]

pytestmark = [pytest.mark.tgt, pytest.mark.slow]
ATTACHMENTS = ("one", "tf", "yaml")


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """A recorded engine that today's code runs, and a folder for more."""

    recording: Recording
    site: Site
    folder: Path


@pytest.fixture(scope="module", params=recordings(), ids=lambda each: each.folder.name)
def upgraded(request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    with tempfile.TemporaryDirectory(prefix="cp-") as name:
        folder, recording = Path(name), request.param
        recording.unpack(folder)
        with EngineProcess(folder) as engine, engine.client(timeout_s=20) as client:
            site = Site(engine=engine, client=client, sources=folder / "sources")
            yield Upgraded(recording=recording, site=site, folder=folder)


@pytest.fixture(scope="module")
def stacks(
    upgraded: Upgraded,
    pulumi_bin: Path,
    plugin_bin: Path,
    yaml_bin: Path,
    terraform: str,
    terraform_home: Path,
) -> Stacks:
    """The recorded stacks, as their owners have them when the engine is upgraded under them."""
    recording = upgraded.recording
    laid_out = lay_out(
        upgraded.folder / "stacks",
        endpoint=upgraded.site.engine.endpoint,
        sources=recording.facts()["sources"],
        pulumi_bin=pulumi_bin,
        plugin_folders=(plugin_bin, yaml_bin),
        terraform=terraform,
        terraform_home=terraform_home,
    )
    laid_out.dynamic.run("config", "set", "servers", "one")
    laid_out.dynamic.run("stack", "import", "--file", str(recording.dynamic))
    laid_out.plugin.run("stack", "import", "--file", str(recording.plugin))
    shutil.copy(recording.terraform, laid_out.terraform.folder)
    return laid_out


def test_everything_is_there_as_it_was_left(upgraded: Upgraded) -> None:
    facts = upgraded.recording.facts()
    del facts["sources"]

    assert facts == describe(upgraded.site)
    check_invariants(upgraded.site)


@pytest.mark.parametrize("name", ATTACHMENTS)
def test_a_server_logs_in_as_before_and_reads_what_it_wrote(upgraded: Upgraded, name: str) -> None:
    request = pb.GetAttachmentRequest(name=name, include_secret=True)

    with log_in(upgraded.site.call("GetAttachment", request)) as session:
        read = session.read(lun=RW_LUN, lba=0, blocks=1)

    assert marker(name).ljust(BLOCK_BYTES, b".") == read


@pytest.mark.pulumi
@pytest.mark.pulumi_yaml
@pytest.mark.terraform
def test_no_plan_shows_a_change(stacks: Stacks) -> None:
    stacks.dynamic.run("preview", "--expect-no-changes")
    stacks.plugin.run("preview", "--expect-no-changes")
    stacks.terraform.assert_empty_plan()


@pytest.mark.pulumi
@pytest.mark.pulumi_yaml
@pytest.mark.terraform
def test_life_goes_on_and_everything_can_be_destroyed(upgraded: Upgraded, stacks: Stacks) -> None:
    """The volume that was released before the upgrade is scrubbed with one released after it."""
    site = upgraded.site
    (released,) = site.volumes("web", state="released")
    stacks.dynamic.run("config", "set", "ready", "3")
    assert "~ 1 updated" in stacks.dynamic.run("up", "--skip-preview").text
    stacks.plugin.run("destroy", "--skip-preview")
    site.wait_for_counts("web", ready=3, released=0)
    scrubbed = {(record.volume_id, record.generation) for record in site.records("web")}
    assert (released.id, released.generation) in scrubbed

    stacks.dynamic.run("destroy", "--skip-preview")
    stacks.terraform.destroy()
    assert [] == list(site.attachments())
    assert [] == list(site.pools())

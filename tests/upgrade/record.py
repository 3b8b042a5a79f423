"""Record this version's state: ``python -m tests.upgrade.record VERSION``.

Runs a real engine with tgtd, Pulumi's and Terraform's command lines on three stacks, and keeps what
a later version must be able to open under ``tests/upgrade/recorded/VERSION``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.testing.images import make_ext4_image
from tests.support.engine_process import running_site
from tests.support.features import find_terraform, pulumi_folder
from tests.support.http_source import StalledSource
from tests.support.invariants import wait_for_rest
from tests.support.plugin_project import write_launcher
from tests.support.site import IMAGE_BYTES, Site, log_in, write_marker
from tests.upgrade.recording import RECORDED, Recording, describe, marker
from tests.upgrade.stacks import Stacks, lay_out
from tools import pulumi_extras


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="the folder's name, such as 0.1.0")
    recording = Recording(folder=RECORDED / parser.parse_args().version)
    recording.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="cp-") as folder, running_site() as site:
        _record(recording, site, Path(folder))
    return 0


def _record(recording: Recording, site: Site, folder: Path) -> None:
    base = make_ext4_image(folder / "base", size_bytes=IMAGE_BYTES, files={"/version": "1\n"})
    image = make_ext4_image(folder / "image", size_bytes=IMAGE_BYTES, files={"/owner": "acme\n"})
    with (
        StalledSource(content=base.read_bytes()) as first,
        StalledSource(content=image.read_bytes()) as second,
    ):
        first.go_on()
        second.go_on()
        sources = {"base": first.url, "image": second.url}
        stacks = _stacks(folder, site, sources)
        _live(site, stacks)
    wait_for_rest(site)
    recording.keep_facts({**describe(site), "sources": sources})
    recording.dynamic.write_text(_without_places(stacks.dynamic.state()))
    recording.plugin.write_text(_without_places(stacks.plugin.state()))
    shutil.copy(stacks.terraform.folder / "terraform.tfstate", recording.terraform)
    site.engine.stop()
    recording.pack(site.engine.state_dir)


def _without_places(exported: str) -> str:
    """A stack's state without where on this machine its programs lay."""
    document = json.loads(exported)
    for resource in document["deployment"]["resources"]:
        for name in ("sourcePosition", "stackTrace"):
            resource.pop(name, None)
    return f"{json.dumps(document, indent=1)}\n"


def _stacks(folder: Path, site: Site, sources: dict[str, str]) -> Stacks:
    pulumi, terraform = pulumi_folder(), find_terraform()
    if pulumi is None or terraform is None:
        raise SystemExit("recording needs the command lines of Pulumi and of Terraform or OpenTofu")
    yaml = pulumi_extras.ensure(["yaml"])
    home = folder / "home"
    home.mkdir()
    program = Path(sys.executable).parent / "clonepool"
    subprocess.run(
        [program, "terraform", "install"],
        check=True,
        env={"HOME": str(home), "PATH": f"{program.parent}:/usr/bin:/bin"},
    )
    return lay_out(
        folder,
        endpoint=site.engine.endpoint,
        sources=sources,
        pulumi_bin=pulumi,
        plugin_folders=(write_launcher(folder / "plugin-bin"), yaml),
        terraform=terraform,
        terraform_home=home,
    )


def _live(site: Site, stacks: Stacks) -> None:
    """Some of everything: attached, released and waiting for the threshold, scrubbed, destroyed."""
    for servers in ("one two three", "one four", "one"):
        stacks.dynamic.run("config", "set", "servers", servers)
        stacks.dynamic.run("up", "--skip-preview")
        wait_for_rest(site)
    stacks.plugin.run("up", "--skip-preview")
    stacks.terraform.apply()
    for found in site.attachments():
        attachment = site.call(
            "GetAttachment", pb.GetAttachmentRequest(id=found.id, include_secret=True)
        )
        with log_in(attachment) as session:
            write_marker(session, marker(attachment.spec.name))


if __name__ == "__main__":
    sys.exit(main())

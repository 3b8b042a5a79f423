"""The README's Terraform program, as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clonepool.testing.images import make_ext4_image
from tests.support.engine_process import OpenSite
from tests.support.site import IMAGE_BYTES
from tests.terraform.conftest import MakeProject

pytestmark = [pytest.mark.terraform, pytest.mark.tgt, pytest.mark.slow]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/terraform-minimal"


def test_the_minimal_example(make_project: MakeProject, open_site: OpenSite) -> None:
    """Plan, apply, a second plan that finds nothing to do, destroy; over iSCSI."""
    site = open_site()
    site.sources.mkdir()
    source = site.sources / "web.ext4"
    make_ext4_image(source, size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"})
    project = make_project(endpoint=site.engine.endpoint, TF_VAR_image=str(source))
    shutil.copytree(EXAMPLE, project.folder)
    project.run("init")
    project.run("fmt", "-check")

    assert "Plan: 3 to add" in project.run("plan", "-out=plan").said
    project.apply("plan")
    outputs = project.outputs()
    assert outputs["connection"]["target"].startswith("iqn.")
    assert outputs["chap_username"].startswith("cp-")
    assert site.attachments()[0].volume_id == outputs["volume"]
    project.assert_empty_plan()
    project.destroy()
    assert [] == list(site.attachments())

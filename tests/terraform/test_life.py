"""The real command line over a real engine: init, plan, apply, update, replace, import, destroy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site
from tests.terraform.configurations import attachment, image, pool
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]


def test_it_is_made_left_alone_and_unmade(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    whole = image("life", source) + pool("life") + attachment("life")
    project.init(whole)
    project.apply()
    made = project.resources()
    assert made["clonepool_server_storage_attachment.attachment"]["warm"]
    project.assert_empty_plan()
    project.destroy()
    assert {} == project.resources()

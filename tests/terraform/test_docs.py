"""The pages are what the provider shows, and their examples work."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clonepool.testing.images import make_ext4_image
from tests.support.engine_process import OpenSite
from tests.support.site import IMAGE_BYTES
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/terraform"


def test_the_pages_are_up_to_date() -> None:
    """Else run tools/generate_terraform_docs.py."""
    program = [sys.executable, str(ROOT / "tools/generate_terraform_docs.py"), "--check"]

    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.fixture
def examples(make_project: MakeProject, open_site: OpenSite) -> TerraformProject:
    """All examples as one configuration, but for where the images lie."""
    site = open_site()
    site.sources.mkdir()
    for name in ("app", "web"):
        path = site.sources / f"{name}.img"
        make_ext4_image(path, size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"})
    project = make_project(endpoint=site.engine.endpoint, TF_VAR_chap_secret="sesame-sesame-1")
    project.folder.mkdir()
    for path in EXAMPLES.rglob("*.tf"):
        if path.name != "import.tf":
            text = path.read_text().replace("/srv/images", str(site.sources))
            (project.folder / f"{path.parent.name}-{path.name}").write_text(text)
    return project


@pytest.mark.terraform
@pytest.mark.tgt
@pytest.mark.slow
def test_the_examples_work_together_over_iscsi(examples: TerraformProject) -> None:
    examples.run("init")
    examples.run("fmt", "-check")
    examples.apply()

    outputs = examples.outputs()
    assert ("ready", "attached") == (outputs["imported"], outputs["state"])
    assert outputs["target"].startswith("iqn.")
    kept = examples.folder / "chap-secret"
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    assert kept.read_text() not in examples.state_text()
    # pools fill behind an apply: by the next one the outputs have all that is ready
    examples.apply()
    examples.run("plan", "-refresh=false", "-detailed-exitcode")

    before = examples.resources()
    (examples.folder / "terraform.tfstate").unlink()
    for path in (EXAMPLES / "resources").glob("*/import.tf"):
        shutil.copy(path, examples.folder / f"{path.parent.name}-import.tf")
    # what is imported is the same; the rest has no import example
    attachment = "clonepool_server_storage_attachment.batch"
    address = before[attachment]["id"]
    examples.run("import", attachment, address)
    imported = examples.apply()
    assert "4 imported" in imported.said
    after = examples.resources()
    assert {name: before[name]["id"] for name in before} | {
        "terraform_data.account": after["terraform_data.account"]["id"]
    } == {name: after[name]["id"] for name in after}
    examples.destroy()


@pytest.mark.terraform
@pytest.mark.slow
def test_terraform_takes_the_schemas(make_project: MakeProject) -> None:
    """It checks them as it loads them."""
    project = make_project()
    project.init("")

    schemas = project.run("providers", "schema", "-json")

    assert "clonepool_chap_secret" in schemas.stdout

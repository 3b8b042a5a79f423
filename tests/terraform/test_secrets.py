"""CHAP secrets: in by a write-only value, out by an ephemeral one, and nowhere in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.engine_process import running_site
from tests.support.site import CUSTOMER, Site, is_refused, log_in
from tests.terraform.conftest import MakeProject
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.tgt, pytest.mark.slow]

ADDRESS = "clonepool_server_storage_attachment.web"
SECRET = "first-of-the-secrets"
CONFIGURATION = """
variable "secret" {{
  type      = string
  ephemeral = true
  default   = null
}}

resource "clonepool_server" "web" {{
  name      = "{server}"
  initiator = "iqn.2026-01.test.clonepool:{server}"
}}

resource "clonepool_server_storage_attachment" "web" {{
  name   = "{server}"
  pool   = "{pool}"
  server = clonepool_server.web.name
  {chap}
}}
"""
# a provider's configuration may take an ephemeral value, and this one's fails when it is wrong
READ_BACK = """
ephemeral "clonepool_chap_secret" "web" {
  id = clonepool_server_storage_attachment.web.id
}

resource "terraform_data" "proof" {
  input = clonepool_server_storage_attachment.web.id

  provisioner "local-exec" {
    command = "printf '%s %s' \\"$USERNAME\\" \\"$SECRET\\" > account"
    environment = {
      USERNAME = ephemeral.clonepool_chap_secret.web.username
      SECRET   = ephemeral.clonepool_chap_secret.web.secret
    }
  }
}
"""


@pytest.fixture(scope="module")
def iscsi_site() -> Iterator[Site]:
    with running_site() as site:
        yield site


@pytest.fixture(scope="module")
def pool(iscsi_site: Site) -> str:
    return iscsi_site.pool(iscsi_site.image(system_user=CUSTOMER), min_ready=2)


@pytest.fixture
def iscsi_project(make_project: MakeProject, iscsi_site: Site) -> TerraformProject:
    return make_project(endpoint=iscsi_site.engine.endpoint)


def attachment_of(site: Site, name: str) -> pb.Attachment:
    request = pb.GetAttachmentRequest(name=name, include_secret=True)
    found: pb.Attachment = site.call("GetAttachment", request)
    return found


def written_files(project: TerraformProject) -> str:
    """Everything that Terraform wrote: states, backups, plans, as text where they are text."""
    paths = (path for path in project.folder.iterdir() if path.is_file())
    return "".join(path.read_bytes().decode(errors="replace") for path in paths)


def test_a_generated_secret_comes_out_ephemeral_and_is_in_no_file(
    iscsi_project: TerraformProject, iscsi_site: Site, pool: str
) -> None:
    """The server logs in with it over iSCSI; what Terraform wrote does not hold it."""
    iscsi_project.init(CONFIGURATION.format(server="generated", pool=pool, chap="") + READ_BACK)
    iscsi_project.apply()

    account = iscsi_project.folder / "account"
    username, secret = account.read_text().split()
    account.unlink()
    made = attachment_of(iscsi_site, "generated")
    assert (made.chap_username, made.chap_secret) == (username, secret)
    with log_in(made) as session:
        assert session.capacity(lun=2)[0] > 0
    iscsi_project.plan()
    shown = iscsi_project.resources()[ADDRESS]
    assert username == shown["chap_username"]
    assert made.connection.target == shown["connection"]["target"]
    assert [volume["lun"] for volume in shown["connection"]["volumes"]] == [1, 2]
    assert secret not in written_files(iscsi_project)
    assert secret not in str(iscsi_project.show("plan"))
    iscsi_project.assert_empty_plan()
    iscsi_project.destroy()


def test_a_given_secret_goes_in_write_only_and_its_version_sends_the_next_one(
    iscsi_project: TerraformProject, iscsi_site: Site, pool: str
) -> None:
    chap = 'chap = { mode = "given", username = "web", secret = var.secret, secret_version = 1 }'
    first = CONFIGURATION.format(server="given", pool=pool, chap=chap)
    iscsi_project.init(first)
    iscsi_project.apply(f"-var=secret={SECRET}")

    made = attachment_of(iscsi_site, "given")
    assert ("web", SECRET) == (made.chap_username, made.chap_secret)
    assert SECRET not in written_files(iscsi_project)
    unsaid = iscsi_project.run("plan", f"-var=secret={SECRET}2", "-detailed-exitcode")
    assert "No changes." in unsaid.stdout

    iscsi_project.write(first.replace("secret_version = 1", "secret_version = 2"))
    changed = iscsi_project.apply(f"-var=secret={SECRET}2")
    assert "0 added, 1 changed, 0 destroyed" in changed.said
    renewed = attachment_of(iscsi_site, "given")
    assert (made.id, made.volume_id, f"{SECRET}2") == (
        renewed.id,
        renewed.volume_id,
        renewed.chap_secret,
    )
    assert is_refused(made)
    log_in(renewed).close()
    assert SECRET not in written_files(iscsi_project)
    iscsi_project.destroy(f"-var=secret={SECRET}2")


def test_a_busy_volume_is_kept_until_force_detach_is_set(
    iscsi_project: TerraformProject, iscsi_site: Site, pool: str
) -> None:
    """A failed delete keeps the state; the way out that it names is a change in place."""
    plain = CONFIGURATION.format(server="busy", pool=pool, chap="")
    iscsi_project.init(plain)
    iscsi_project.apply()
    before = iscsi_project.resources()
    with log_in(attachment_of(iscsi_site, "busy")):
        refused = iscsi_project.destroy(expect=1)
        assert "Deleting attachment busy failed" in refused.said
        assert "force_detach" in refused.said
        assert before == iscsi_project.resources()

        iscsi_project.write(
            plain.replace('name   = "busy"', 'name   = "busy"\nforce_detach = true')
        )
        iscsi_project.apply()
        iscsi_project.destroy()
    assert {} == iscsi_project.resources()


def test_another_initiator_is_granted_in_place(
    iscsi_project: TerraformProject, iscsi_site: Site, pool: str
) -> None:
    plain = CONFIGURATION.format(server="moved", pool=pool, chap="")
    iscsi_project.init(plain)
    iscsi_project.apply()
    old = attachment_of(iscsi_site, "moved")

    iscsi_project.write(plain.replace("clonepool:moved", "clonepool:elsewhere"))
    assert {"clonepool_server.web": ["update"]} == iscsi_project.changes()
    iscsi_project.apply("plan")

    moved = attachment_of(iscsi_site, "moved")
    assert old.volume_id == moved.volume_id
    assert is_refused(moved)
    log_in(moved, as_server="elsewhere").close()
    iscsi_project.destroy()

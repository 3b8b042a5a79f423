"""What is wrong is said at its attribute, before anything is made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.terraform.configurations import server
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

WRONG = """
resource "clonepool_server" "labels" {
  name   = "web1"
  labels = {
    "fine.one" = "x"
    "bad.two"  = "two\\nlines"
  }
}

resource "clonepool_replica_pool" "scrub" {
  name         = "web"
  master_image = "web"
  scrub = {
    threshold = 0
  }
}

resource "clonepool_master_image" "file" {
  name     = "web"
  writable = { source = "/images/web.img", size = "10 gigabytes" }
  preconfigure = [
    { portion = "writable", path = "/etc/a", content = "a" },
    { portion = "writable", path = "etc/b", content = "b" },
  ]
}

resource "clonepool_server_storage_attachment" "ways" {
  name          = "web"
  pool          = "web"
  server        = "web1"
  inline_server = { name = "web2" }
}
"""
# whether one of two ways is null is only known with the variable
CONDITIONAL = """
variable "server" {
  type    = string
  default = null
}

variable "secret" {
  type      = string
  ephemeral = true
  default   = null
}

resource "clonepool_server_storage_attachment" "it" {
  name          = "web"
  pool          = "web"
  server        = var.server
  inline_server = var.server == null ? { name = "web1" } : null
  chap = {
    mode     = var.server == null ? "generated" : "given"
    username = var.server == null ? null : "web"
    secret   = var.server == null ? null : var.secret
  }
}
"""


def problems(project: TerraformProject) -> list[dict[str, Any]]:
    done = project.run("validate", "-json", expect=None)
    found: list[dict[str, Any]] = json.loads(done.stdout)["diagnostics"]
    return found


def test_each_problem_stands_at_its_own_line(project: TerraformProject) -> None:
    project.init(WRONG)

    found = problems(project)

    lines = {each["summary"]: each["snippet"]["code"].strip() for each in found}
    assert {
        "Invalid labels.bad.two": '"bad.two"  = "two\\nlines"',
        "Invalid scrub.threshold": "scrub = {\n    threshold = 0\n  }",
        "Invalid writable.size": 'writable = { source = "/images/web.img", size = "10 gigabytes" }',
        "Invalid preconfigure[1].path": (
            '{ portion = "writable", path = "etc/b", content = "b" },'
        ),
        "Invalid inline_server": 'inline_server = { name = "web2" }',
    } == lines
    assert all(each["detail"].startswith(each["summary"].split()[1]) for each in found)


def test_what_may_yet_be_null_is_not_called_wrong(project: TerraformProject) -> None:
    project.init(CONDITIONAL)

    assert [] == problems(project)
    project.run("plan")
    project.run("plan", "-var=server=web1", "-var=secret=a-secret-of-16-chars")
    refused = project.run("plan", "-var=server=web1", expect=1)
    assert "chap.secret: is needed with mode given" in refused.said


def test_what_only_the_engine_knows_is_said_with_its_words(project: TerraformProject) -> None:
    project.init(
        server("known") + 'resource "clonepool_server_storage_attachment" "it" {\n  name = "a"\n'
        '  pool = "no-such-pool"\n  server = clonepool_server.server.name\n}\n'
    )

    refused = project.apply(expect=1)

    assert "Creating attachment a failed" in refused.said
    assert "no-such-pool" in refused.said
    assert ["clonepool_server.server"] == list(project.resources())
    project.destroy()

"""The provider block: which engine, said in three ways, or not known yet."""

from __future__ import annotations

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from tests.support.engine_process import OpenSite
from tests.support.site import Site
from tests.terraform.configurations import server
from tests.terraform.conftest import MakeProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

NOWHERE = "unix:///nowhere/engine.sock"


def server_names(site: Site) -> list[str]:
    return [each.spec.name for each in site.call("ListServers", pb.ListRequest()).servers]


def test_aliases_reach_two_engines_and_the_block_comes_before_the_environment(
    make_project: MakeProject, engine_site: Site, open_site: OpenSite
) -> None:
    other = open_site()
    project = make_project(endpoint=NOWHERE)
    project.init(
        f"""
provider "clonepool" {{
  endpoint = "{engine_site.engine.endpoint}"
}}

provider "clonepool" {{
  alias    = "other"
  endpoint = "{other.engine.endpoint}"
}}
"""
        + server("alias-here", label="here")
        + server("alias-there", label="there", more="provider = clonepool.other")
    )
    project.apply()

    assert ["alias-there"] == server_names(other)
    assert "alias-here" in server_names(engine_site)
    project.assert_empty_plan()
    project.destroy()
    assert [] == server_names(other)


def test_an_endpoint_that_is_only_known_later_does_not_stop_a_plan(
    make_project: MakeProject, engine_site: Site
) -> None:
    project = make_project(endpoint=NOWHERE)
    project.init(
        f"""
resource "terraform_data" "endpoint" {{
  input = "{engine_site.engine.endpoint}"
}}

provider "clonepool" {{
  endpoint = terraform_data.endpoint.output
}}
"""
        + server("late-endpoint")
    )
    assert {"clonepool_server.server": ["create"], "terraform_data.endpoint": ["create"]} == (
        project.changes()
    )
    project.apply("plan")

    assert "late-endpoint" in server_names(engine_site)
    # known again, it is read; about to be made anew, it can't be
    project.assert_empty_plan()
    project.run("plan", "-replace=terraform_data.endpoint")
    project.destroy()


def test_a_wrong_endpoint_is_named_at_its_attribute(make_project: MakeProject) -> None:
    project = make_project()
    project.init('provider "clonepool" {\n  endpoint = "localhost:7070"\n}\n' + server("never"))

    refused = project.run("plan", expect=1)

    assert "Invalid endpoint" in refused.said
    assert "unix:///path/engine.sock or tcp://host:port" in refused.said
    assert 'endpoint = "localhost:7070"' in refused.said


def test_a_lookup_with_an_unknown_endpoint_says_the_way_out(
    make_project: MakeProject, engine_site: Site
) -> None:
    project = make_project()
    project.init(
        f"""
resource "terraform_data" "endpoint" {{
  input = "{engine_site.engine.endpoint}"
}}

provider "clonepool" {{
  endpoint = terraform_data.endpoint.output
}}

data "clonepool_pool" "web" {{
  name = "web"
}}
"""
    )

    refused = project.run("plan", expect=1)

    assert "the provider's endpoint is only known after the apply" in refused.said

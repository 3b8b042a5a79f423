"""Many at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site
from tests.terraform.configurations import image, pool
from tests.terraform.project import TerraformProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

MANY = """
resource "clonepool_server_storage_attachment" "each" {
  count         = 40
  name          = "many-${count.index}"
  pool          = clonepool_replica_pool.pool.name
  inline_server = { name = "many-${count.index}" }
}
"""


def test_forty_attachments_twenty_at_a_time_get_a_volume_each(
    project: TerraformProject, engine_site: Site, source: Path
) -> None:
    """The stock is half of that: the rest waits in the queue and is served."""
    stock = pool("many", stock=20, more="wait_for_ready = 20\nmax_replicas = 40")
    project.init(image("many", source) + stock + MANY)
    project.apply("-parallelism=20")

    made = [values for address, values in project.resources().items() if ".each[" in address]
    assert 40 == len(made) == len({values["volume"] for values in made})
    project.assert_empty_plan()
    project.destroy("-parallelism=20")
    assert {} == project.resources()

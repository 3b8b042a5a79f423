"""examples/ci-preview/preview.py with the real program: what it does when no engine answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.ci_job import Job
from tests.support.engine_process import OpenSite
from tests.terraform.configurations import attachment, image, pool
from tests.terraform.conftest import MakeProject

pytestmark = [pytest.mark.terraform, pytest.mark.slow]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("", 1, "plan failed (exit code 1); the job's log says why"),
        ("-refresh=false", 0, "**Clonepool:** no forecast: no engine answers at "),
    ],
    ids=["refreshing", "not refreshing"],
)
def test_with_a_state_and_no_engine_the_job_passes_if_nothing_is_refreshed(
    make_project: MakeProject,
    open_site: OpenSite,
    source: Path,
    tmp_path: Path,
    options: str,
    code: int,
    said: str,
) -> None:
    site = open_site()
    project = make_project(endpoint=site.engine.endpoint)
    project.init(image("ci", source) + pool("ci") + attachment("ci"))
    project.apply()
    site.engine.stop()
    programs = f"{Path(project.terraform).parent}:{Path(sys.executable).parent}"
    environment = project.environment()
    path = {"PATH": f"{programs}:{environment['PATH']}"}
    job = Job(folder=tmp_path, variables={**environment, **path})
    job.event()

    done = job.run(
        "preview.py",
        Path(project.terraform).name,
        f"--markdown={job.markdown}",
        f"--directory={project.folder}",
        f"--preview-options={options}",
    )

    assert code == done.code, done.err
    assert said in job.markdown.read_text()
    assert "Traceback" not in done.err

"""The workflows of examples/ci-preview: their own steps with the real tools, engine and API."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.testing.images import make_ext4_image
from tests.support.ci_job import SCRIPTS, Job
from tests.support.features import find_terraform
from tests.support.github_server import TOKEN, GitHubServer, github_server
from tests.support.pulumi_project import VENV, PulumiProject
from tests.support.site import IMAGE_BYTES, Site
from tests.support.workflow_steps import Workflow
from tests.terraform.configurations import attachment, image, pool
from tests.terraform.project import TerraformProject

pytestmark = pytest.mark.slow

# an input that a preview's JSON holds in the clear
PLAIN = "plain-as-day"
PROGRAM = """\
import pulumi_clonepool as clonepool

image = clonepool.MasterImage(
    "ci",
    writable={{"source": "{source}"}},
    preconfigure=[{{"portion": "writable", "path": "/etc/motd", "content": "{plain}"}}],
)
pool = clonepool.ReplicaPool(
    "ci", master_image=image, fabric="local", min_ready=2, max_replicas=4,
    wait_for_ready=2, scrub={{"threshold": 2}},
)
for number in range({servers}):
    clonepool.ServerStorageAttachment(
        f"ci-{{number}}", pool=pool, system_user={{"name": "acme", "kind": "customer"}},
        inline_server={{"name": f"ci-{{number}}"}}, chap={{"mode": "none"}},
    )
"""


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with github_server() as running:
        yield running


@pytest.fixture
def source(site: Site) -> Path:
    site.sources.mkdir(exist_ok=True)
    path = site.sources / "ci.img"
    return make_ext4_image(path, size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"})


class Checkout:
    """A repository that has taken the example into use as its README says, and one job in it."""

    def __init__(self, *, folder: Path, tool: str, github: GitHubServer, **secrets: str) -> None:
        self.folder = folder / "checkout"
        self.job = Job(folder=folder, api_url=github.url)
        self.job.event()
        target = self.folder / ".github/clonepool"
        target.mkdir(parents=True)
        for script in SCRIPTS.glob("*.py"):
            shutil.copy(script, target)
        values = {f"secrets.{name}": text for name, text in secrets.items()}
        self._workflow = Workflow(
            path=SCRIPTS / f"workflows/{tool}.yml", values={"github.token": TOKEN, **values}
        )
        self._words = {"PROJECT": "infra", "PREVIEW_OPTIONS": ""}

    def run(self, environment: dict[str, str], *, preview: str, fail_on: str) -> tuple[int, str]:
        """Both steps, the second whatever became of the first; the first's exit code and log."""
        job = self.job.environment()
        shared = {
            **environment,
            "RUNNER_TEMP": str(self.job.folder),
            **{name: job[name] for name in job if name.startswith("GITHUB_")},
            "TMPDIR": job["TMPDIR"],
        }
        # the secrets of a step are in no other one
        for name in ("CLONEPOOL_ENDPOINT", "GITHUB_TOKEN"):
            shared.pop(name, None)
        first = self._workflow.run(
            preview, folder=self.folder, environment=shared, FAIL_ON=fail_on, **self._words
        )
        second = self._workflow.run("Comment", folder=self.folder, environment=shared)
        assert 0 == second.returncode, second.stderr
        log = "".join((first.stdout, first.stderr, second.stdout, second.stderr))
        assert [] == self.job.leftovers()
        return first.returncode, log


def pulumi_project(folder: Path, pulumi_bin: Path, site: Site) -> PulumiProject:
    """Its program is in the checkout's folder ``infra``."""
    project = PulumiProject(
        folder=folder / "pulumi",
        pulumi_bin=pulumi_bin,
        variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
    )
    project.create("")
    (folder / "checkout/infra").symlink_to(folder / "pulumi/program")
    return project


@pytest.mark.pulumi
def test_pulumis_workflow_comments_on_each_push_and_fails_when_it_was_told_to(
    tmp_path: Path, pulumi_bin: Path, site: Site, source: Path, github: GitHubServer
) -> None:
    checkout = Checkout(
        folder=tmp_path, tool="pulumi", github=github, CLONEPOOL_ENDPOINT=site.engine.endpoint
    )
    project = pulumi_project(tmp_path, pulumi_bin, site)

    def push(servers: int, *, fail_on: str) -> int:
        project.write(PROGRAM.format(source=source, plain=PLAIN, servers=servers))
        code, log = checkout.run(
            project.environment(), preview="Preview and forecast", fail_on=fail_on
        )
        assert PLAIN not in log + checkout.job.summary + github.comments[0]["body"]
        return code

    assert 0 == push(2, fail_on="waits")
    (comment,) = github.comments
    assert "### Clonepool: 2 of 2 attachments warm" in comment["body"]
    assert 4 == push(3, fail_on="waits")
    assert [comment["id"]] == [each["id"] for each in github.comments]
    assert "### Clonepool: 2 of 3 attachments warm, 1 wait" in comment["body"]
    # what was forecast for the first push comes true
    project.write(PROGRAM.format(source=source, plain=PLAIN, servers=2))
    project.run("up", "--skip-preview")
    assert [True, True] == [each.warm for each in site.attachments()]
    project.run("destroy", "--skip-preview")


@pytest.mark.pulumi
def test_a_program_that_fails_says_in_the_log_why_and_in_the_comment_that(
    tmp_path: Path, pulumi_bin: Path, site: Site, github: GitHubServer
) -> None:
    checkout = Checkout(
        folder=tmp_path, tool="pulumi", github=github, CLONEPOOL_ENDPOINT=site.engine.endpoint
    )
    project = pulumi_project(tmp_path, pulumi_bin, site)
    project.write(f"print({PLAIN!r})\nraise Exception('the flux is out of line')")
    code, log = checkout.run(project.environment(), preview="Preview and forecast", fail_on="never")
    assert 1 == code
    assert "the flux is out of line" in log
    assert PLAIN not in log
    said = "**Clonepool:** no forecast: pulumi preview failed (exit code 1); the job's log says why"
    assert said in github.comments[0]["body"]
    assert f"{said}\n" == checkout.job.summary


@pytest.mark.pulumi
def test_an_engine_that_is_away_fails_no_preview(
    tmp_path: Path, pulumi_bin: Path, site: Site, source: Path, github: GitHubServer
) -> None:
    away = "unix:///nowhere/engine.sock"
    checkout = Checkout(folder=tmp_path, tool="pulumi", github=github, CLONEPOOL_ENDPOINT=away)
    project = pulumi_project(tmp_path, pulumi_bin, site)
    project.write(PROGRAM.format(source=source, plain=PLAIN, servers=1))
    code, log = checkout.run(project.environment(), preview="Preview and forecast", fail_on="waits")
    assert 0 == code, log
    assert "no forecast: no engine answers at $CLONEPOOL_ENDPOINT" in github.comments[0]["body"]


@pytest.mark.terraform
def test_terraforms_workflow_comments_on_a_real_plan(
    tmp_path: Path, site: Site, source: Path, github: GitHubServer
) -> None:
    terraform = find_terraform()
    assert terraform is not None, "this test has the marker terraform"
    checkout = Checkout(
        folder=tmp_path, tool="terraform", github=github, CLONEPOOL_ENDPOINT=site.engine.endpoint
    )
    project = TerraformProject(
        folder=checkout.folder / "infra", home=tmp_path / "home", terraform=terraform, variables={}
    )
    name = "ci-terraform"
    project.write(
        "".join(
            [
                image(name, source),
                pool(name, stock=2, more="wait_for_ready = 2"),
                *(attachment(f"{name}-{word}", label=word) for word in ("one", "two", "three")),
            ]
        )
    )
    environment = project.environment()
    subprocess.run(
        [VENV / "bin/clonepool", "terraform", "install"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    # the workflow says `terraform`, whichever of the two is here
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "terraform").symlink_to(terraform)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    for _ in range(2):
        code, log = checkout.run(environment, preview="Plan and forecast", fail_on="waits")
        assert 4 == code, log
        (comment,) = github.comments
        assert "2 of 3 attachments warm, 1 wait" in comment["body"]
        assert str(source) not in log

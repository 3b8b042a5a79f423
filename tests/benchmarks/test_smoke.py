"""Every benchmark runs, in a tiny size, on the real parts, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import (
    attach,
    attach_rpc,
    clone_rate,
    flatness,
    memory,
    needs,
    plugin_up,
    provider_start,
    pulumi_up,
    run,
    start,
    terraform_apply,
)
from benchmarks.bulk import add_volumes
from benchmarks.figures import Figure, Skip
from benchmarks.site import open_site
from clonepool.domain.model import Ref
from clonepool.domain.states import VolumeState


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own; afterwards no process works in it and nothing is mounted there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert [] == working_in(tmp_path)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def working_in(folder: Path) -> list[str]:
    """The other processes whose words, variables or open files name the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            held = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:  # it has ended, or is not ours
            continue
        if os.fsencode(folder) in said or any(str(folder) in path for path in held):
            found.append((process / "comm").read_text())
    return found


def names(figures: Sequence[Figure]) -> list[str]:
    for each in figures:
        assert all(value > 0 for value in (*each.floor, *each.subject))
        assert len(each.floor) == len(each.subject)
    return [each.name for each in figures]


def both(how: str) -> list[str]:
    return [
        f"{verb}, {how}, {callers}"
        for verb in ("attach", "release")
        for callers in ("1 caller", "4 callers")
    ]


@pytest.mark.tgt
def test_attach_and_release_through_the_controllers(scratch: Path) -> None:
    assert both("in process") == names(attach.run(scratch=scratch, sizes=attach.SMOKE))


@pytest.mark.tgt
@pytest.mark.slow
def test_attach_and_release_over_grpc(scratch: Path) -> None:
    assert both("over gRPC") == names(attach_rpc.run(scratch=scratch, sizes=attach_rpc.SMOKE))


@pytest.mark.tgt
@pytest.mark.reflink
def test_flatness_by_image_size_and_by_volumes(scratch: Path) -> None:
    figures = flatness.run(scratch=scratch, sizes=flatness.SMOKE)
    assert ["attach, 1 TiB image against 1 GiB", "attach, 200 volumes against 20"] == names(figures)


@pytest.mark.tgt
@pytest.mark.reflink
def test_filling_by_reflink(scratch: Path) -> None:
    figures = clone_rate.run(scratch=scratch, sizes=clone_rate.SMOKE)
    assert ["filling a pool, FICLONE on XFS"] == names(figures)


@pytest.mark.tgt
def test_filling_by_copies_where_no_xfs_can_be_had(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without() -> None:
        raise Skip("no XFS here")

    monkeypatch.setattr(clone_rate, "need_xfs", without)
    figures = clone_rate.run(scratch=scratch, sizes=clone_rate.SMOKE)
    assert ["filling a pool, sparse copy"] == names(figures)


def of_stacks(command: str, steps: Sequence[str], *, timed: str) -> list[str]:
    return [
        f"{command} {timed}, 1 attachment",
        *(f"{command} {step}, 3 attachments" for step in steps),
    ]


@pytest.mark.tgt
@pytest.mark.pulumi
@pytest.mark.slow
def test_pulumi_up_against_resources_that_do_nothing(scratch: Path) -> None:
    expected = of_stacks("pulumi", ("preview", "up", "destroy"), timed="up")
    assert expected == names(pulumi_up.run(scratch=scratch, sizes=pulumi_up.SMOKE))


@pytest.mark.tgt
@pytest.mark.pulumi
@pytest.mark.pulumi_yaml
@pytest.mark.slow
def test_the_plugin_s_up_against_resources_that_do_nothing(scratch: Path) -> None:
    needs.pulumi_extras.ensure(["yaml"])
    expected = of_stacks("plugin", ("preview", "up", "destroy"), timed="up")
    assert expected == names(plugin_up.run(scratch=scratch, sizes=plugin_up.SMOKE))


@pytest.mark.tgt
@pytest.mark.terraform
@pytest.mark.slow
def test_terraform_apply_against_the_built_in_resource(scratch: Path) -> None:
    expected = of_stacks("terraform", ("plan", "apply", "destroy"), timed="apply")
    assert expected == names(terraform_apply.run(scratch=scratch, sizes=terraform_apply.SMOKE))


@pytest.mark.slow
def test_starts_of_the_providers(scratch: Path) -> None:
    started = (
        "dynamic provider to its first hook",
        "Pulumi plugin to Handshake and GetPluginInfo",
        "Terraform provider to its handshake line",
        "Terraform provider to its schema",
    )
    expected = [f"{name}, against {floor}" for name in started for floor in ("import grpc", "pass")]
    assert expected == names(provider_start.run(scratch=scratch, sizes=provider_start.SMOKE))


@pytest.mark.slow
def test_starts_and_status(scratch: Path) -> None:
    assert [
        "first start to SERVING",
        "next start to SERVING",
        "clonepool status, against pass",
        "clonepool status, against import grpc",
    ] == names(start.run(scratch=scratch, sizes=start.SMOKE))


@pytest.mark.slow
def test_memory_at_rest_and_with_volumes(scratch: Path) -> None:
    figures = memory.run(scratch=scratch, sizes=memory.SMOKE)
    assert ["engine at rest", "engine at 300 volumes"] == names(figures)


@pytest.mark.tgt
@pytest.mark.parametrize("state", [VolumeState.READY, VolumeState.RELEASED])
def test_volumes_in_bulk_are_the_pools_and_stay(scratch: Path, state: VolumeState) -> None:
    with open_site(scratch / "site") as site:
        site.add_image("web")
        site.add_pool("web", image="web", ready=2)
        added = add_volumes(site.state_dir, pool="web", count=50, state=state)
        site.wait_idle()
        assert 50 == len(set(added))
        counts = site.engine.pools.get(ref=Ref(name="web")).counts
        assert (52 if state is VolumeState.READY else 50) == counts.of(state)
        # what has a file is handed out first
        site.attach(0, pool="web")
        assert site.engine.volumes.get(ref=Ref(id=added[0])).state is state


def test_what_can_not_run_here_is_left_out_with_the_reason(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(needs.pulumi_cli, "find", lambda: None)
    monkeypatch.setattr(needs.shutil, "which", only_tgtd)
    written = scratch / "results.json"
    words = ["--quick", "--scratch", str(scratch), "--json", str(written)]
    left_out = ["pulumi_up", "plugin_up", "terraform_apply"]
    assert 0 == run.main([*words, *(word for name in left_out for word in ("--only", name))])
    said = capsys.readouterr().out
    assert "pulumi_up: left out: no Pulumi command line" in said
    assert "terraform_apply: left out: neither terraform nor tofu is on PATH" in said
    assert left_out == list(json.loads(written.read_text())["skipped"])


def only_tgtd(name: str, **_options: str) -> str | None:
    return "/usr/sbin/tgtd" if name == "tgtd" else None


def test_one_that_fails_takes_no_other_with_it(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run takes a quarter of an hour."""
    (scratch / "file").write_text("no folder")
    written = scratch / "results.json"
    words = ["--only", "memory", "--only", "attach", "--scratch", str(scratch / "file")]
    assert 1 == run.main([*words, "--json", str(written)])
    said = json.loads(written.read_text())["skipped"]
    assert ["memory", "attach"] == list(said)
    assert all(text.startswith("failed: ") for text in said.values())
    assert "memory: failed: " in capsys.readouterr().out

"""tools/pulumi_cli.py finds a Pulumi command line, or gets one, or says so by its exit code."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.pulumi_cli import COMPANIONS, EXIT_NONE, VERSION

TOOL = Path(__file__).resolve().parents[2] / "tools/pulumi_cli.py"
# writes what `-o FILE` names and counts its runs; `mod download` describes a module folder
GO = """#!/bin/sh
echo run >>"{log}"
case "$1" in
mod) printf '{{"Dir": "{module}"}}' ;;
build)
    while [ "$1" != -o ]; do shift; done
    echo partial >"$2"
    {after}
    ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A trial machine: a PATH and a cache of its own, nothing else."""

    folder: Path

    def install(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def install_pulumi(self, version: str) -> None:
        self.install("pulumi", f"#!/bin/sh\necho {version}\n")

    def install_companions(self) -> None:
        for name in COMPANIONS:
            self.install(name, "#!/bin/sh\n")

    def install_go(self, after: str = "true") -> None:
        module = self.folder / "module"
        for name in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
            script = module / "python" / name
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text("#!/bin/sh\n")
        self.install("go", GO.format(log=self.log, module=module, after=after))

    @property
    def log(self) -> Path:
        return self.folder / "go.log"

    @property
    def built(self) -> Path:
        return self.folder / f"cache/clonepool/pulumi-{VERSION}/bin"

    def get(self, *words: str, ci: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(TOOL), *words],
            env={
                "PATH": f"{self.folder}/bin",
                "XDG_CACHE_HOME": f"{self.folder}/cache",
                "HOME": str(self.folder),
                "CI": "true" if ci else "",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(folder=tmp_path)
    (tmp_path / "bin").mkdir()
    # the scripts need these; the real PATH may hold a pulumi
    for name in ("sh", "true", "false"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    return made


def test_one_on_path_that_is_new_enough_is_taken(machine: Machine) -> None:
    machine.install_pulumi("v3.200.0")
    machine.install_companions()
    done = machine.get()
    assert (0, f"{machine.folder}/bin\n") == (done.returncode, done.stdout)


def test_one_that_is_too_old_is_passed_over_with_a_word(machine: Machine) -> None:
    machine.install_pulumi("v3.199.9")
    machine.install_companions()
    done = machine.get("--find")
    assert (EXIT_NONE, "") == (done.returncode, done.stdout)
    assert "is 3.199.9; needs 3.200 or newer" in done.stderr


def test_one_that_cannot_run_python_is_passed_over_with_a_word(machine: Machine) -> None:
    machine.install_pulumi("v3.260.0")
    done = machine.get("--find")
    assert (EXIT_NONE, "") == (done.returncode, done.stdout)
    assert "lacks pulumi-language-python" in done.stderr


def test_without_go_ci_may_go_on_and_learns_how_to_install(machine: Machine) -> None:
    done = machine.get()
    assert (EXIT_NONE, "") == (done.returncode, done.stdout)
    assert "https://www.pulumi.com/docs/install/" in done.stderr


def test_with_go_it_is_built_once_and_complete(machine: Machine) -> None:
    machine.install_go()
    done = machine.get()
    assert (0, f"{machine.built}\n") == (done.returncode, done.stdout), done.stderr
    assert {"pulumi", *COMPANIONS} == {path.name for path in machine.built.iterdir()}
    runs = machine.log.read_text()
    assert 0 == machine.get().returncode
    assert runs == machine.log.read_text()


def test_a_build_that_broke_off_never_looks_done(machine: Machine) -> None:
    machine.install_go(after="exit 1")
    assert 1 == machine.get(ci=True).returncode
    assert EXIT_NONE == machine.get("--find").returncode
    assert not machine.built.exists()


def test_a_file_without_its_stamp_is_built_again(machine: Machine) -> None:
    machine.install_go()
    assert 0 == machine.get().returncode
    (machine.built.parent / "pulumi.built").unlink()
    assert EXIT_NONE == machine.get("--find").returncode
    assert 0 == machine.get().returncode

"""What this machine can do: each marker's probe, and why a test that needs it is left out."""

from __future__ import annotations

import ctypes.util
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.backends.rbd_bindings import load_bindings
from clonepool.errors import FailedPrecondition
from tests.support import guest
from tests.support.postgres import find_binaries
from tools import pulumi_cli, pulumi_extras

# a normal user's PATH often lacks the administrators' folders
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_BOOT_TIMEOUT_S: Final = 60
RANDOM_PLUGIN: Final = "pulumi-resource-random"


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Why a feature is not here; ``installable``: root could install it, so CI must have it."""

    reason: str
    installable: bool = False


def find_program(name: str) -> str | None:
    """Its path, looked for in the administrators' folders too."""
    return shutil.which(name) or shutil.which(name, path=_SBIN)


def probe_root() -> Lack | None:
    return None if os.geteuid() == 0 else Lack(reason="not root")


def probe_tgt() -> Lack | None:
    if find_program("tgtd") is None:
        return Lack(reason="tgtd is not installed (Debian: tgt)", installable=True)
    if ctypes.util.find_library("iscsi") is None:
        return Lack(reason="libiscsi is not installed (Debian: libiscsi-bin)", installable=True)
    return None


def probe_open_iscsi() -> Lack | None:
    for name in ("iscsid", "iscsiadm"):
        if find_program(name) is None:
            reason = f"{name} is not installed (Debian: open-iscsi)"
            return Lack(reason=reason, installable=True)
    return None


def probe_guest() -> Lack | None:
    if not guest.has_kernel():
        return Lack(reason="there is no user-mode Linux for this processor")
    missing = guest.find_missing(which={name: find_program(name) for name in guest.programs()})
    if missing:
        reason = f"the guest needs the Debian packages {', '.join(missing)}"
        return Lack(reason=reason, installable=True)
    with tempfile.TemporaryDirectory(prefix="guest-probe-") as share:
        try:
            guest.run_in_guest(["true"], share=Path(share), timeout_s=_BOOT_TIMEOUT_S)
        except guest.GuestFailed as error:
            return Lack(reason=f"user-mode Linux doesn't run here: {error}", installable=True)
    return None


def probe_lio() -> Lack | None:
    if os.geteuid() != 0:
        return Lack(reason="not root")
    if Path("/sys/kernel/config/target").is_dir() or _has_module("iscsi_target_mod"):
        return None
    return _lacks_kernel("this kernel has no LIO")


def probe_lvm() -> Lack | None:
    if os.geteuid() != 0:
        return Lack(reason="not root")
    for program, package in (("lvm", "lvm2"), ("thin_check", "thin-provisioning-tools")):
        if find_program(program) is None:
            return Lack(reason=f"{program} is not installed (Debian: {package})", installable=True)
    if Path("/sys/module/dm_thin_pool").is_dir() or _has_module("dm_thin_pool"):
        return None
    return _lacks_kernel("this kernel has no thin pools")


def _has_module(name: str) -> bool:
    modprobe = find_program("modprobe")
    argv = [modprobe or "", "--dry-run", "--quiet", name]
    return modprobe is not None and subprocess.run(argv, check=False).returncode == 0


def _lacks_kernel(reason: str) -> Lack:
    """Something that the guest's kernel has: on a host left out, and run in the guest instead."""
    return Lack(reason=f"{reason}; tests/guest runs these in a guest", installable=guest.in_guest())


def probe_ceph() -> Lack | None:
    for program in ("ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool"):
        if find_program(program) is None:
            package = "ceph-common" if program == "monmaptool" else program
            return Lack(reason=f"{program} is not installed (Debian: {package})", installable=True)
    try:
        load_bindings()
    except FailedPrecondition:
        # installed, they are for one version of Python, which need not be this one
        return Lack(
            reason="python3-rados and python3-rbd are not there for this interpreter",
            installable=not any(Path("/usr/lib/python3/dist-packages").glob("rbd.*.so")),
        )
    return None


def probe_fio() -> Lack | None:
    for name, package in (("fio", "fio"), ("qemu-storage-daemon", "qemu-system-common")):
        if find_program(name) is None:
            return Lack(reason=f"{name} is not installed (Debian: {package})", installable=True)
    if not os.access("/dev/fuse", os.W_OK):
        return Lack(reason="no /dev/fuse that this user may open")
    return None


def probe_systemd() -> Lack | None:
    if find_program("systemd-analyze") is None:
        return Lack(reason="systemd-analyze is not installed (Debian: systemd)", installable=True)
    return None


def probe_reflink() -> Lack | None:
    if os.geteuid() != 0:
        return Lack(reason="not root, so no loop device can be mounted")
    if find_program("mkfs.xfs") is None:
        return Lack(reason="mkfs.xfs is not installed (Debian: xfsprogs)", installable=True)
    losetup = find_program("losetup")
    if losetup is None:
        return Lack(reason="losetup is not installed (Debian: mount)", installable=True)
    # asks for a free device without taking it; a container without loop devices refuses
    asked = subprocess.run([losetup, "--find"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return Lack(reason=f"no loop device: {asked.stderr.strip()}")
    return None


def probe_postgres() -> Lack | None:
    if find_binaries() is None:
        text = "PostgreSQL's server is not installed (Debian: postgresql)"
        return Lack(reason=text, installable=True)
    return None


def probe_pulumi() -> Lack | None:
    if pulumi_folder() is not None:
        return None
    reason = "no Pulumi command line (tools/pulumi_cli.py gets one)"
    return Lack(reason=reason, installable=shutil.which("go") is not None)


def probe_terraform() -> Lack | None:
    if find_terraform() is not None:
        return None
    return _needs_go("neither terraform nor tofu is on PATH, and no Go to build OpenTofu with")


def find_terraform() -> str | None:
    """The path of Terraform, else of OpenTofu: the one on PATH, else the one that was built."""
    return shutil.which("terraform") or find_tofu()


def find_tofu() -> str | None:
    """The path of OpenTofu, on PATH or built before."""
    built = str(pulumi_extras.folder() / "tofu") if pulumi_extras.is_built("tofu") else None
    return shutil.which("tofu") or built


def probe_generated_config() -> Lack | None:
    if shutil.which("terraform") is not None:
        return None
    # opentofu 1.11.0, internal/configs/configschema/filter.go: a nested attribute that is left out
    # is looked into all the same
    return Lack(reason="terraform is not on PATH, and OpenTofu crashes on it")


def probe_tofu() -> Lack | None:
    if find_tofu() is not None:
        return None
    return _needs_go("tofu is not on PATH, and no Go to build it with")


def probe_pulumi_yaml() -> Lack | None:
    if pulumi_extras.is_built("yaml"):
        return None
    return _needs_go("no pulumi-language-yaml, and no Go to build it with")


def probe_gensdk() -> Lack | None:
    if pulumi_extras.is_built("gensdk"):
        return None
    return _needs_go("no Go to build the SDK generator with")


def probe_go() -> Lack | None:
    return _needs_go("no Go")


def probe_npm() -> Lack | None:
    return None if shutil.which("npm") else Lack(reason="npm is not installed")


def _needs_go(reason: str) -> Lack | None:
    return None if shutil.which("go") else Lack(reason=reason)


@functools.cache
def pulumi_folder() -> Path | None:
    """The folder of a Pulumi command line; nothing is built or fetched for it."""
    return pulumi_cli.find()


PROBES: Final[Mapping[str, Callable[[], Lack | None]]] = {
    "root": probe_root,
    "tgt": probe_tgt,
    "open_iscsi": probe_open_iscsi,
    "guest": probe_guest,
    "lio": probe_lio,
    "lvm": probe_lvm,
    "ceph": probe_ceph,
    "fio": probe_fio,
    "systemd": probe_systemd,
    "reflink": probe_reflink,
    "postgres": probe_postgres,
    "pulumi": probe_pulumi,
    "pulumi_yaml": probe_pulumi_yaml,
    "gensdk": probe_gensdk,
    "go": probe_go,
    "npm": probe_npm,
    "terraform": probe_terraform,
    "tofu": probe_tofu,
    "generated_config": probe_generated_config,
}


@functools.cache
def find_lack(marker: str) -> Lack | None:
    """None where the machine has the feature. Probes once a run."""
    return PROBES[marker]()


def must_have(lack: Lack) -> bool:
    """Whether to fail instead of skipping: CI as root installs what can be installed.

    So does whoever boots the guest: what is lacking in there was to be there.
    """
    wanted = pulumi_cli.in_ci() or guest.in_guest()
    return lack.installable and wanted and os.geteuid() == 0


def find_random_plugin() -> Path | None:
    """The folder of the random provider's real plugin: on PATH, else in the user's Pulumi home."""
    found = shutil.which(RANDOM_PLUGIN)
    if found is not None:
        return Path(found).parent
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    held = home.glob(f"plugins/resource-random-v*/{RANDOM_PLUGIN}")
    newest = max(held, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest.parent if newest else None

"""What a benchmark needs of the machine; it is left out, with the reason, where that is not so."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import Skip
from clonepool.testing.file_systems import missing_for_xfs
from tools import pulumi_cli, pulumi_extras

# a normal user's PATH lacks the administrators' folders
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def need_tgt() -> None:
    """Raise Skip where no tgtd is installed."""
    if shutil.which("tgtd") is None and shutil.which("tgtd", path=_SBIN) is None:
        raise Skip("tgtd is not installed (Debian: tgt)")


def need_xfs() -> None:
    """Raise Skip where no XFS with reflinks can be mounted."""
    if reason := missing_for_xfs():
        raise Skip(f"{reason}, for an XFS with reflinks")


def need_pulumi() -> Path:
    """The folder of the Pulumi command line; raises Skip where there is none."""
    found = pulumi_cli.find()
    if found is None:
        raise Skip("no Pulumi command line (python tools/pulumi_cli.py gets one)")
    return found


def need_yaml() -> Path:
    """The folder of Pulumi's YAML host; raises Skip where it isn't built."""
    if not pulumi_extras.is_built("yaml"):
        raise Skip("no pulumi-language-yaml (python -m tools.pulumi_extras yaml builds it)")
    return pulumi_extras.folder()


def need_terraform_extra() -> None:
    """Raise Skip where the Terraform provider lacks what it imports."""
    missing = [name for name in ("cryptography", "msgpack") if find_spec(name) is None]
    if missing:
        raise Skip(f'no {" and no ".join(missing)} (pip install "clonepool[terraform]")')


def need_terraform() -> str:
    """The path of Terraform, else of OpenTofu; raises Skip where there is neither."""
    need_terraform_extra()
    found = shutil.which("terraform") or shutil.which("tofu")
    if found is None:
        raise Skip("neither terraform nor tofu is on PATH")
    return found

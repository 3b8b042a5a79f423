"""`clonepool terraform install`: make the provider known to a plain `terraform init`."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import Final

from clonepool import __version__
from clonepool.errors import FailedPrecondition, InvalidArgument

PROGRAM: Final = "terraform-provider-clonepool"
# both look into the same folder, each for its own registry's name
_REGISTRIES: Final = ("registry.terraform.io", "registry.opentofu.org")
_SOURCE: Final = "clonepool/clonepool"
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "i686": "386",
}
# No path in it: .terraform.lock.hcl holds its hash, and must hold on everybody's machine. What a
# provider that can't start prints to stdout is what Terraform shows.
_WRAPPER: Final = f"""\
#!/bin/sh
if command -v {PROGRAM} >/dev/null 2>&1; then
    exec {PROGRAM} "$@"
fi
echo '{PROGRAM} is not on PATH. Activate the Python environment that Clonepool is installed in' \\
    '(pip install "clonepool[terraform]"), then run again.'
exit 1
"""
_USE: Final = f"""\
Name it in your configuration, then run `terraform init` (or `tofu init`):

terraform {{
  required_providers {{
    clonepool = {{
      source  = "{_SOURCE}"
      version = "{__version__}"
    }}
  }}
}}"""


def install(*, plugins: Path | None = None) -> None:
    """Make this version of the provider known to Terraform and OpenTofu.

    It writes a small script that starts the program on PATH, so no registry is asked for it. May
    be repeated.

    Parameters
    ----------
    plugins
        The folder of plugins; by default ~/.terraform.d/plugins, where both look by themselves.

    """
    folder = plugins or Path.home() / ".terraform.d" / "plugins"
    for registry in _REGISTRIES:
        print(f"wrote {_write(folder / registry)}")
    if shutil.which(PROGRAM) is None:
        print(f"note: {PROGRAM} is not on PATH yet", file=sys.stderr)
    print(f"\n{_USE}")


def _write(registry: Path) -> Path:
    folder = registry / _SOURCE / __version__ / _platform()
    wrapper = folder / f"{PROGRAM}_v{__version__}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wrapper.write_text(_WRAPPER)
        wrapper.chmod(0o755)
    except OSError as error:
        text = f"can't write {wrapper}: {error.strerror}; name another folder by --plugins"
        raise FailedPrecondition(text) from None
    return wrapper


def _platform() -> str:
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        known = ", ".join(sorted(set(_ARCHITECTURES.values())))
        raise InvalidArgument(f"no Terraform runs on {machine}; it knows {known}")
    return f"{platform.system().lower()}_{_ARCHITECTURES[machine]}"

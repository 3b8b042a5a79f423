"""Ceph's Python bindings of the distribution, loaded when a storage first needs them.

No wheel of them exists, and a virtual environment does not see the system's packages, so the two
modules are loaded by path; nothing else of that folder comes onto ``sys.path``.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from clonepool.errors import FailedPrecondition

PATH_VARIABLE: Final = "CEPH_PYTHONPATH"
# rbd needs rados to be there when it is loaded
_MODULES: Final = ("rados", "rbd")
_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_SYSTEM_FOLDERS: Final = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib64/python{_VERSION}/site-packages",
    f"/usr/lib/python{_VERSION}/site-packages",
)
_loading: Final = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """The modules ``rados`` and ``rbd``."""

    rados: ModuleType
    rbd: ModuleType

    @property
    def version(self) -> str:
        """The librbd that is loaded."""
        return ".".join(str(part) for part in self.rbd.RBD().version())


def load_bindings() -> Bindings:
    """Load both modules, once. Raises FailedPrecondition naming packages and interpreter."""
    with _loading:
        try:
            loaded = [import_module(name) for name in _MODULES]
        except ImportError:
            loaded = [_load(name) for name in _MODULES]
    return Bindings(rados=loaded[0], rbd=loaded[1])


def _load(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    path = next(_candidates(name, folders=_folders()), None)
    if path is None:
        raise _missing(f"no {name} for this interpreter")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _missing(f"{path} is no module that Python can load")
    try:
        # an extension module is loaded by the first step already
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        sys.modules.pop(name, None)
        raise _missing(f"{path} can't be loaded: {error}") from error
    return module


def _folders() -> Sequence[str]:
    told = os.environ.get(PATH_VARIABLE, "")
    return (*filter(None, told.split(os.pathsep)), *_SYSTEM_FOLDERS)


def _candidates(name: str, *, folders: Sequence[str]) -> Iterator[Path]:
    for folder in folders:
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder, name + suffix)
            if path.is_file():
                yield path


def _missing(why: str) -> FailedPrecondition:
    found = [
        str(path)
        for folder in _folders()
        for name in _MODULES
        for path in sorted(Path(folder).glob(f"{name}.*so"))
    ]
    return FailedPrecondition(
        f"storage driver rbd needs Ceph's Python bindings, and {why}. This is Python "
        f"{sys.version.split()[0]} ({sysconfig.get_config_var('SOABI')}), found: "
        f"{', '.join(found) or 'nothing'}. Install them (Debian, Ubuntu: apt-get install "
        "python3-rados python3-rbd; RHEL, Fedora: dnf install python3-rados python3-rbd) and run "
        "the engine with the Python they are built for, the distribution's own; where they lie "
        f"elsewhere, name their folder in {PATH_VARIABLE}",
        reason="NO_CEPH_BINDINGS",
    )

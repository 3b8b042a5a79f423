"""The engine's settings from a TOML file, ``CLONEPOOL_*`` and flags, in rising order."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from clonepool.api.endpoint import default_endpoint, is_root, parse_endpoint
from clonepool.cli.settings_tables import (
    Place,
    read_drivers,
    read_table,
    refuse_unknown,
)
from clonepool.config import DriverSettings, HoldSettings, Settings, TlsSettings
from clonepool.database_url import check_url, has_secret
from clonepool.errors import InvalidArgument
from clonepool.units import parse_duration, parse_size

# Each setting that one value says: its key in the file and after CLONEPOOL_, and its help.
KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "state_dir": "folder of the engine's database, keys and sockets",
        "listen": "unix:///path or tcp://host:port",
        "database": "postgresql://user@host/db in place of SQLite in the state folder",
        "secret_key_file": "key of the secrets in the database; default: in the state folder",
        "node": "this engine's name among several",
        "import_roots": "folders that images may be imported from",
        "workers": "clones, scrubs and imports that run at once",
        "scrub_workers": "how many of them may be scrubs",
        "scrub_rate": "how many bytes a second all scrubs together overwrite and read back",
        "compare_every": "how often storages and fabrics are compared with the rows",
        "node_lease": "how long a node may not be heard of before others take its work over",
        "orphan_grace": "how long an object without a row is kept, or never",
        "log_level": "debug, info, warning or error",
        "log_format": "plain or json",
        "token": "what callers over TCP must bring",
        "tls_certificate": "certificate of a TCP listener",
        "tls_key": "its key",
        "tls_client_ca": "CA of the client certificates that callers over TCP must bring",
        "holds_max_share_percent": "how much of a pool's max_replicas may be held at once",
        "holds_max_duration": "how long a hold may last",
        "holds_max_tickets": "how many open tickets a pool may have",
    }
)
_TLS_KEYS: Final = ("certificate", "key", "client_ca")
_HOLD_KEYS: Final = ("max_share_percent", "max_duration", "max_tickets")
# the tables of the file whose keys are in KEYS after the table's name
_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"tls": _TLS_KEYS, "holds": _HOLD_KEYS}
)
_FILE_KEYS: Final = (
    *(key for key in KEYS if key.partition("_")[0] not in _SECTIONS),
    *_SECTIONS,
    "storages",
    "fabrics",
)
# what a duration is called once it is read
_FIELDS: Final = MappingProxyType(
    {
        "compare_every": "compare_every_s",
        "node_lease": "node_lease_s",
        "orphan_grace": "orphan_grace_s",
        "scrub_rate": "scrub_rate_bytes_s",
    }
)
_LEAST_S: Final = 1.0
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_LOG_FORMATS: Final = ("plain", "json")
_WORKERS_LIMIT: Final = 256
_TICKETS_LIMIT: Final = 1000
_TOKEN_LEAST_CHARS: Final = 16
_STORAGES: Final = MappingProxyType({"default": "file"})
_FABRICS: Final = MappingProxyType({"local": "local", "iscsi": "iscsi"})
_NO_FLAGS: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A value and the place that it was read from, for errors."""

    value: Any
    place: Place


def load_settings(
    *,
    config_file: str = "",
    flags: Mapping[str, Any] = _NO_FLAGS,
    environ: Mapping[str, str] = os.environ,
    user_id: int | None = None,
) -> Settings:
    """Read everything there is to read; nothing at all gives settings that work.

    ``config_file`` "" takes CLONEPOOL_CONFIG or, where it exists, the default file. ``flags`` has
    the keys of ``KEYS``; empty values say nothing. Raises InvalidArgument naming file and key.
    """
    root = is_root(user_id)
    path, document = _read_file(config_file, environ=environ, root=root)
    found = _from_file(document, path=path)
    found |= _from_environment(environ)
    found |= _from_flags(flags)
    driver_place = Place(source=str(path), prefix="")
    return Settings(
        **_single_values(found, environ=environ, user_id=user_id, root=root),
        tls=_tls(found),
        holds=_holds(found),
        storages=_storages(document, driver_place),
        fabrics=read_drivers(document, "fabrics", place=driver_place, always=_FABRICS),
    )


def default_config_file(*, environ: Mapping[str, str] = os.environ, root: bool) -> Path:
    """The file that is read when none is named."""
    if root:
        return Path("/etc/clonepool/clonepool.toml")
    folder = environ.get("XDG_CONFIG_HOME") or f"{_home(environ)}/.config"
    return Path(folder) / "clonepool" / "clonepool.toml"


def default_state_dir(*, environ: Mapping[str, str] = os.environ, root: bool) -> Path:
    """The state folder when none is named."""
    if root:
        return Path("/var/lib/clonepool")
    folder = environ.get("XDG_STATE_HOME") or f"{_home(environ)}/.local/state"
    return Path(folder) / "clonepool"


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or str(Path.home())


def _read_file(
    config_file: str, *, environ: Mapping[str, str], root: bool
) -> tuple[Path, dict[str, Any]]:
    named = config_file or environ.get("CLONEPOOL_CONFIG", "")
    path = Path(named).expanduser() if named else default_config_file(environ=environ, root=root)
    place = Place(source=str(path), prefix="")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise place.refuse("config", "there is no such file") from None
        return path, {}
    except OSError as problem:
        raise place.refuse("config", f"can't be read: {problem.strerror}") from None
    try:
        return path, tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise place.refuse("config", f"is not TOML: {problem}") from None


def _from_file(document: dict[str, Any], *, path: Path) -> dict[str, _Found]:
    place = Place(source=str(path), prefix="")
    refuse_unknown(document, known=_FILE_KEYS, place=place)
    found = {
        key: _Found(value=value, place=place) for key, value in document.items() if key in KEYS
    }
    for section, known in _SECTIONS.items():
        inside = place.inside(section)
        table = read_table(document, section, place=place)
        refuse_unknown(table, known=known, place=inside)
        found |= {
            f"{section}_{key}": _Found(value=value, place=inside) for key, value in table.items()
        }
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Found]:
    place = Place(source="environment", prefix="CLONEPOOL_", upper=True)
    named = {key: environ.get(f"CLONEPOOL_{key.upper()}", "") for key in KEYS}
    return {key: _Found(value=value, place=place) for key, value in named.items() if value}


def _from_flags(flags: Mapping[str, Any]) -> dict[str, _Found]:
    place = Place(source="flags", prefix="")
    return {key: _Found(value=value, place=place) for key, value in flags.items() if value}


def _single_values(
    found: Mapping[str, _Found], *, environ: Mapping[str, str], user_id: int | None, root: bool
) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "state_dir": default_state_dir(environ=environ, root=root),
        "listen": str(default_endpoint(environ=environ, user_id=user_id)),
        "node": _node_name(),
    }
    readers: dict[str, Callable[[_Found, str], Any]] = {
        "state_dir": _path,
        "listen": _listen,
        "database": _database,
        "secret_key_file": _path,
        "node": _node,
        "import_roots": _paths,
        "workers": _workers,
        "scrub_workers": _workers,
        "scrub_rate": _size,
        "compare_every": _at_least_a_second,
        "node_lease": _at_least_a_second,
        "orphan_grace": _orphan_grace,
        "log_level": lambda item, key: _choice(item, key, allowed=_LOG_LEVELS),
        "log_format": lambda item, key: _choice(item, key, allowed=_LOG_FORMATS),
        "token": _token,
    }
    read = {key: reader(found[key], key) for key, reader in readers.items() if key in found}
    return defaults | {_FIELDS.get(key, key): value for key, value in read.items()}


def _text(item: _Found, key: str) -> str:
    if not isinstance(item.value, str):
        raise item.place.refuse(key, f"must be a text in quotes, not {item.value!r}")
    return item.value.strip()


def _path(item: _Found, key: str) -> Path:
    path = Path(_text(item, key)).expanduser()
    if item.place.source == "flags":
        return path.absolute()
    if not path.is_absolute():
        raise item.place.refuse(key, f"{str(path)!r} must be an absolute path")
    return path


def _paths(item: _Found, key: str) -> tuple[Path, ...]:
    """A list in the file and in flags, a colon-separated text in the environment."""
    listed = item.value.split(":") if isinstance(item.value, str) else item.value
    if not isinstance(listed, (list, tuple)):
        raise item.place.refuse(key, "must be a list of paths")
    return tuple(_path(_Found(value=each, place=item.place), key) for each in listed if each)


def _listen(item: _Found, key: str) -> str:
    text = _text(item, key)
    try:
        parse_endpoint(text)
    except InvalidArgument as refused:
        raise item.place.refuse(key, refused.violations[0].description) from None
    return text


def _database(item: _Found, key: str) -> str:
    url = _text(item, key)
    if item.place.source == "flags" and has_secret(url):
        text = (
            "has a password, which every user sees on a command line; give it by PGPASSWORD, "
            "~/.pgpass or a service file, or the URL by CLONEPOOL_DATABASE or the settings file"
        )
        raise item.place.refuse(key, text)
    try:
        check_url(url, field=key)
    except InvalidArgument as refused:
        raise item.place.refuse(key, refused.violations[0].description) from None
    return url


def _node(item: _Found, key: str) -> str:
    name = _text(item, key)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name):
        raise item.place.refuse(key, f"{name!r} must be 1 to 63 characters from a-z 0-9 . -")
    return name


def _node_name() -> str:
    host = re.sub(r"[^a-z0-9-]", "-", socket.gethostname().partition(".")[0].lower())
    return host[:63].strip("-") or "node1"


def _workers(item: _Found, key: str) -> int:
    return _number(item, key, most=_WORKERS_LIMIT)


def _size(item: _Found, key: str) -> int:
    try:
        return parse_size(_text(item, key), field=key)
    except InvalidArgument as refused:
        raise item.place.refuse(key, refused.violations[0].description) from None


def _duration(item: _Found, key: str) -> float:
    try:
        return parse_duration(_text(item, key), field=key)
    except InvalidArgument as refused:
        raise item.place.refuse(key, refused.violations[0].description) from None


def _at_least_a_second(item: _Found, key: str) -> float:
    seconds = _duration(item, key)
    if seconds < _LEAST_S:
        raise item.place.refuse(key, f"{item.value!r} must be at least 1s")
    return seconds


def _orphan_grace(item: _Found, key: str) -> float | None:
    return None if item.value == "never" else _duration(item, key)


def _choice(item: _Found, key: str, *, allowed: tuple[str, ...]) -> str:
    word = _text(item, key).lower()
    if word not in allowed:
        raise item.place.refuse(key, f"{word!r} must be one of: {', '.join(allowed)}")
    return word


def _token(item: _Found, key: str) -> str:
    token = _text(item, key)
    if len(token) < _TOKEN_LEAST_CHARS or not token.isascii() or not token.isprintable():
        raise item.place.refuse(
            key, f"must have at least {_TOKEN_LEAST_CHARS} printable ASCII characters"
        )
    return token


def _tls(found: Mapping[str, _Found]) -> TlsSettings | None:
    given = {key: found[f"tls_{key}"] for key in _TLS_KEYS if f"tls_{key}" in found}
    if not given:
        return None
    for needed in ("certificate", "key"):
        if needed not in given:
            place = next(iter(given.values())).place
            raise place.refuse(needed, "is needed for TLS; give certificate and key")
    paths = {key: _path(item, key) for key, item in given.items()}
    return TlsSettings(
        certificate=paths["certificate"], key=paths["key"], client_ca=paths.get("client_ca")
    )


def _holds(found: Mapping[str, _Found]) -> HoldSettings:
    readers: Mapping[str, tuple[str, Callable[[_Found, str], Any]]] = {
        "max_share_percent": ("max_share_percent", lambda item, key: _number(item, key, most=100)),
        "max_duration": ("max_duration_s", _at_least_a_second),
        "max_tickets": ("max_tickets", lambda item, key: _number(item, key, most=_TICKETS_LIMIT)),
    }
    return HoldSettings(
        **{
            field: read(found[f"holds_{key}"], _key_as_written(found[f"holds_{key}"], key))
            for key, (field, read) in readers.items()
            if f"holds_{key}" in found
        }
    )


def _key_as_written(item: _Found, key: str) -> str:
    """In a table of the file the key stands alone; a variable's name has the table's before it."""
    return key if item.place.prefix == "holds." else f"holds_{key}"


def _number(item: _Found, key: str, *, most: int) -> int:
    text = str(item.value)
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= number <= most:
        raise item.place.refuse(key, f"{text!r} must be a whole number from 1 to {most}")
    return number


def _storages(document: dict[str, Any], place: Place) -> Mapping[str, DriverSettings]:
    return read_drivers(document, "storages", place=place, always=_STORAGES)

"""Settings: defaults that work at once, then the file, the environment, the flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clonepool.cli.settings import KEYS, load_settings
from clonepool.config import DriverSettings, HoldSettings, Settings
from clonepool.errors import InvalidArgument

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "configuration.md"


def load(
    tmp_path: Path,
    text: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    user_id: int = 1000,
) -> Settings:
    """Settings of a user whose home is ``tmp_path``; ``text`` is the file's."""
    file = tmp_path / "clonepool.toml"
    if text:
        file.write_text(text)
    return load_settings(
        config_file=str(file) if text else "",
        environ={"HOME": str(tmp_path), **(environ or {})},
        flags=flags or {},
        user_id=user_id,
    )


def test_nothing_at_all_gives_settings_that_work(tmp_path: Path) -> None:
    found = load(tmp_path)

    assert found.state_dir == tmp_path / ".local/state/clonepool"
    assert found.listen == f"unix://{tmp_path}/.local/state/clonepool/engine.sock"
    assert re.fullmatch(r"[a-z0-9-]+", found.node)
    assert found.storages == {"default": DriverSettings(name="default", driver="file")}
    assert found.fabrics == {
        "local": DriverSettings(name="local", driver="local"),
        "iscsi": DriverSettings(name="iscsi", driver="iscsi"),
    }
    assert (found.tls, found.token, found.import_roots) == (None, "", ())
    assert found.import_schemes == {"http", "https"}


def test_root_has_the_machines_places(tmp_path: Path) -> None:
    found = load(tmp_path, environ={"CLONEPOOL_NODE": "n1"}, user_id=0)

    assert found.state_dir == Path("/var/lib/clonepool")
    assert found.listen == "unix:///run/clonepool/engine.sock"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = 'node = "file"\nworkers = 2\nlog_level = "warning"\n'
    environ = {"CLONEPOOL_WORKERS": "3", "CLONEPOOL_LOG_LEVEL": "error"}

    found = load(tmp_path, text, environ=environ, flags={"log_level": "debug", "workers": 0})

    assert (found.node, found.workers, found.log_level) == ("file", 3, "debug")


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    values = {
        "state_dir": "/state",
        "listen": "tcp://[::1]:7443",
        "database": "postgresql://u@h/db",
        "secret_key_file": "/k.key",
        "node": "n1",
        "import_roots": "/a:/b",
        "import_schemes": "HTTPS",
        "workers": "7",
        "scrub_workers": "3",
        "scrub_rate": "2MiB",
        "compare_every": "90s",
        "node_lease": "12s",
        "orphan_grace": "2h",
        "log_level": "DEBUG",
        "log_format": "json",
        "token": "0123456789abcdef",
        "tls_certificate": "/c",
        "tls_key": "/k",
        "tls_client_ca": "~/ca",
        "holds_max_share_percent": "25",
        "holds_max_duration": "8h",
        "holds_max_tickets": "3",
    }
    assert set(values) == set(KEYS)

    environ = {f"CLONEPOOL_{key.upper()}": value for key, value in values.items()}
    found = load(tmp_path, environ=environ)

    assert (found.state_dir, found.listen, found.node) == (Path("/state"), "tcp://[::1]:7443", "n1")
    assert ("postgresql://u@h/db", Path("/k.key")) == (found.database, found.secret_key_file)
    assert (found.import_roots, found.import_schemes) == ((Path("/a"), Path("/b")), {"https"})
    assert (found.workers, found.log_level, found.log_format) == (7, "debug", "json")
    assert (found.scrub_workers, found.scrub_rate_bytes_s) == (3, 2 * 2**20)
    spans = (found.compare_every_s, found.node_lease_s, found.orphan_grace_s)
    assert (90.0, 12.0, 7200.0) == spans
    assert found.tls is not None
    assert (Path("/c"), Path("~/ca").expanduser()) == (found.tls.certificate, found.tls.client_ca)
    assert HoldSettings(max_share_percent=25, max_duration_s=28800, max_tickets=3) == found.holds


@pytest.mark.parametrize("text", ['import_schemes = "none"', "import_schemes = []"])
def test_no_url_may_be_imported_where_that_is_said(tmp_path: Path, text: str) -> None:
    assert frozenset() == load(tmp_path, text).import_schemes


def test_drivers_are_declared_with_their_options(tmp_path: Path) -> None:
    text = """
    [storages.default]
    path = "/srv/clonepool"
    reserve = "10GiB"
    [storages.fast]
    driver = "file"
    path = "/nvme"
    [fabrics.iscsi]
    portal = "192.0.2.10:3260"
    max_targets = 100
    advertise = ["192.0.2.10:3260", "192.0.2.11:3260"]
    """

    found = load(tmp_path, text)

    assert found.storages["default"].driver == "file"
    assert found.storages["default"].options == {"path": "/srv/clonepool", "reserve": "10GiB"}
    assert found.storages["fast"].options == {"path": "/nvme"}
    assert found.fabrics["iscsi"].options == {
        "portal": "192.0.2.10:3260",
        "max_targets": "100",
        "advertise": "192.0.2.10:3260,192.0.2.11:3260",
    }
    assert set(found.fabrics) == {"local", "iscsi"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stat_dir = "/x"', "stat_dir is no setting; did you mean state_dir?"),
        ('storage = "x"', "storage is no setting; did you mean storages?"),
        ("zzz = 1", "zzz is no setting; known are compare_every, database, fabrics, holds, "),
        ('[tls]\ncert = "/c"', "tls.cert is no setting; did you mean certificate?"),
        ('[tls]\ncertificate = "/c"', "tls.key is needed for TLS"),
        ('tls_key = "/c"', "tls_key is no setting"),
        ("holds = 1", "holds must be a table: write [holds]"),
        ("holds_max_tickets = 1", "holds_max_tickets is no setting"),
        ("[holds]\nmax_ticket = 1", "holds.max_ticket is no setting; did you mean max_tickets?"),
        ("[holds]\nmax_tickets = 0", "holds.max_tickets '0' must be a whole number from 1 to 1000"),
        ("[holds]\nmax_tickets = 1.5", "holds.max_tickets '1.5' must be a whole number"),
        ("[holds]\nmax_share_percent = 101", "holds.max_share_percent '101' must be"),
        ("[holds]\nmax_duration = 60", "holds.max_duration must be a text in quotes, not 60"),
        ('[holds]\nmax_duration = "soon"', "holds.max_duration 'soon' is not a duration"),
        ('[holds]\nmax_duration = "10ms"', "holds.max_duration '10ms' must be at least 1s"),
        ("tls = 1", "tls must be a table: write [tls]"),
        ("storages = 1", "storages must be a table: write [storages]"),
        ("[storages]\nfast = 1", "storages.fast must be a table: write [storages.fast]"),
        ('[storages.fast]\npath = "/x"', "storages.fast.driver must name a driver"),
        ('[storages.default]\nreserve = "5 percent"', "storages.default.reserve"),
        ('[storages.default]\nreserve = "100%"', "storages.default.reserve"),
        ('[storages.default]\nreserve = "x%"', "storages.default.reserve"),
        ("[storages.default]\npath = 1.5", "storages.default.path must be a text"),
        ('state_dir = "relative"', "state_dir 'relative' must be an absolute path"),
        ("state_dir = 1", "state_dir must be a text in quotes, not 1"),
        ('listen = "localhost:1"', "listen 'localhost:1' is not an endpoint"),
        ("workers = 0", "workers '0' must be a whole number from 1 to 256"),
        ("workers = true", "workers 'True' must be"),
        ("scrub_workers = 0", "scrub_workers '0' must be a whole number from 1 to 256"),
        ('scrub_rate = "fast"', "scrub_rate 'fast' is not a size"),
        ("scrub_rate = 5", "scrub_rate must be a text in quotes"),
        ('compare_every = "5"', "compare_every '5' is not a duration"),
        ('compare_every = "10ms"', "compare_every '10ms' must be at least 1s"),
        ("compare_every = 5", "compare_every must be a text in quotes, not 5"),
        ('orphan_grace = "none"', "orphan_grace 'none' is not a duration"),
        ('node = "No"', "node 'No' must be 1 to 63 characters"),
        ('log_level = "loud"', "log_level 'loud' must be one of: debug, info, warning, error"),
        ('log_format = "xml"', "log_format 'xml' must be one of: plain, json"),
        ('token = "short"', "token must have at least 16 printable ASCII characters"),
        ("import_roots = 3", "import_roots must be a list of paths"),
        ("import_roots = [3]", "import_roots must be a text in quotes, not 3"),
        ("import_schemes = 3", "import_schemes must be a list of http, https, or none"),
        ('import_schemes = ["ftp", "http"]', "import_schemes 'ftp, http' is not of http, https"),
        ("= 1", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_naming_itself_and_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load(tmp_path, text)

    assert message in refused.value.message
    assert str(tmp_path / "clonepool.toml") in refused.value.message


def test_a_bad_variable_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="CLONEPOOL_WORKERS 'x' must be a whole number"):
        load(tmp_path, environ={"CLONEPOOL_WORKERS": "x"})
    with pytest.raises(InvalidArgument, match="CLONEPOOL_HOLDS_MAX_TICKETS 'x' must be a whole"):
        load(tmp_path, environ={"CLONEPOOL_HOLDS_MAX_TICKETS": "x"})


def test_orphans_can_be_kept_for_ever(tmp_path: Path) -> None:
    assert load(tmp_path, 'orphan_grace = "never"').orphan_grace_s is None
    assert (300.0, 3600.0) == (
        load(tmp_path).compare_every_s,
        load(tmp_path).orphan_grace_s,
    )


def test_a_bad_flag_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--log-level 'x' must be one of"):
        load(tmp_path, flags={"log_level": "x"})


def test_a_refused_token_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load(tmp_path, 'token = "s3cret"')

    assert "s3cret" not in refused.value.message


def test_a_database_is_named_in_the_file_the_environment_or_a_flag(tmp_path: Path) -> None:
    url = "postgresql://clonepool:s3cret@db1/clonepool"
    assert url == load(tmp_path, f'database = "{url}"').database
    assert url == load(tmp_path, environ={"CLONEPOOL_DATABASE": url}).database
    plain = "postgresql://clonepool@db1/clonepool"
    assert plain == load(tmp_path, flags={"database": plain}).database
    assert "s3cret" not in repr(load(tmp_path, f'database = "{url}"'))


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@h/db", "postgresql://h/db?password=s3cret"])
def test_a_password_on_a_command_line_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgument, match="--database has a password") as refused:
        load(tmp_path, flags={"database": url})
    assert "PGPASSWORD" in refused.value.message
    assert "s3cret" not in refused.value.message


def test_another_kind_of_database_is_refused_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not postgresql://user@host/db") as refused:
        load(tmp_path, environ={"CLONEPOOL_DATABASE": "mysql://u:s3cret@h/db"})
    assert "s3cret" not in refused.value.message


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"absent\.toml there is no such file"):
        load_settings(config_file=str(tmp_path / "absent.toml"), environ={"HOME": "/"})


def test_the_default_file_of_a_user_is_read(tmp_path: Path) -> None:
    file = tmp_path / ".config" / "clonepool" / "clonepool.toml"
    file.parent.mkdir(parents=True)
    file.write_text('node = "mine"\n')

    assert load(tmp_path).node == "mine"


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('node = "other"\n')

    assert load(tmp_path, environ={"CLONEPOOL_CONFIG": str(file)}).node == "other"


def test_a_relative_path_in_a_flag_is_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load(tmp_path, flags={"state_dir": "state"}).state_dir == tmp_path / "state"


def example() -> str:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    return str(blocks[0])


def test_the_documented_example_is_read_as_it_stands(tmp_path: Path) -> None:
    found = load(tmp_path, example())

    assert found.listen == "tcp://0.0.0.0:7443"
    assert set(found.storages) == {"default", "fast"}
    assert found.tls is not None


def test_every_setting_is_documented_in_the_example_and_the_table() -> None:
    text, document = DOCUMENTATION.read_text(), tomllib.loads(example())
    singles = {key for key in KEYS if not key.startswith(("tls_", "holds_"))}

    assert singles <= set(document)
    assert {"certificate", "key", "client_ca"} == set(document["tls"])
    assert {"max_share_percent", "max_duration", "max_tickets"} == set(document["holds"])
    for key in KEYS:
        assert f"`CLONEPOOL_{key.upper()}`" in text

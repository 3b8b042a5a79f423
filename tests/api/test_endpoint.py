"""Where an engine is looked for, and how its address is spelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.api.endpoint import (
    Endpoint,
    client_environment,
    default_endpoint,
    parse_endpoint,
    parse_endpoints,
)
from clonepool.errors import InvalidArgument


def test_root_has_the_machines_socket() -> None:
    found = default_endpoint(environ={"XDG_RUNTIME_DIR": "/run/user/0"}, user_id=0)

    assert str(found) == "unix:///run/clonepool/engine.sock"


def test_a_user_has_a_socket_in_the_runtime_directory(tmp_path: Path) -> None:
    found = default_endpoint(environ={"XDG_RUNTIME_DIR": str(tmp_path)}, user_id=1000)

    assert found.path == tmp_path / "clonepool" / "engine.sock"


@pytest.mark.parametrize("runtime", [{}, {"XDG_RUNTIME_DIR": "/run/user/not-there"}])
def test_without_a_runtime_directory_the_socket_is_in_the_state_directory(
    runtime: dict[str, str],
) -> None:
    found = default_endpoint(environ={**runtime, "HOME": "/home/jo"}, user_id=1000)

    assert found.path == Path("/home/jo/.local/state/clonepool/engine.sock")


@pytest.mark.parametrize(
    ("text", "expected", "target"),
    [
        ("unix:///run/x.sock", Endpoint(path=Path("/run/x.sock")), "unix:/run/x.sock"),
        ("tcp://engine:7443", Endpoint(host="engine", port=7443), "engine:7443"),
        ("tcp://127.0.0.1:0", Endpoint(host="127.0.0.1", port=0), "127.0.0.1:0"),
        ("tcp://[::1]:7443", Endpoint(host="::1", port=7443), "[::1]:7443"),
    ],
)
def test_an_endpoint_is_read_and_written_alike(text: str, expected: Endpoint, target: str) -> None:
    found = parse_endpoint(text)

    assert found == expected
    assert str(found) == text
    assert found.target == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/x.sock",
        "engine:7443",
        "http://engine:7443",
        "unix://run/x.sock",
        "unix://",
        "unix:///" + "a" * 107,
        "tcp://engine",
        "tcp://:7443",
        "tcp://engine:port",
        "tcp://engine:70000",
        "tcp://engine:7443/path",
    ],
)
def test_a_bad_endpoint_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_endpoint(text, field_name="listen")

    assert refused.value.violations[0].field == "listen"


def test_the_environment_says_how_to_reach_an_engine() -> None:
    found = client_environment(
        {
            "CLONEPOOL_ENDPOINT": "tcp://engine:7443",
            "CLONEPOOL_TOKEN": "t0ken",
            "CLONEPOOL_CA_FILE": "/ca",
            "CLONEPOOL_CLIENT_CERT": "/cert",
            "CLONEPOOL_CLIENT_KEY": "/key",
        }
    )

    assert (found.endpoint, found.token, found.ca_file) == ("tcp://engine:7443", "t0ken", "/ca")
    assert (found.client_cert_file, found.client_key_file) == ("/cert", "/key")
    assert "t0ken" not in repr(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://a:1", ["tcp://a:1"]),
        ("tcp://a:1,tcp://b:2", ["tcp://a:1", "tcp://b:2"]),
        (" tcp://b:2 , unix:///x , ", ["tcp://b:2", "unix:///x"]),
        ("tcp://a:1,tcp://b:2,tcp://a:1", ["tcp://a:1", "tcp://b:2"]),
    ],
)
def test_several_endpoints_keep_their_order_and_come_once(text: str, expected: list[str]) -> None:
    assert expected == [str(place) for place in parse_endpoints(text)]


@pytest.mark.parametrize("text", ["", " , ", "tcp://a:1,b:2", "tcp://a:1 tcp://b:2"])
def test_a_bad_one_among_several_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_endpoints(text)

    assert "endpoint" == refused.value.violations[0].field

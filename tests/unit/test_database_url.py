"""A database's URL is shown without what is secret in it, however it is written."""

from __future__ import annotations

import pytest

from clonepool.database_url import check_url, has_secret, shown_url
from clonepool.errors import InvalidArgument


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        ("postgresql://u:geheim@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:@h/db", "postgresql://u:***@h/db"),
        ("postgres://u:ge@he/im?x@h/db", "postgres://u:***@h/db"),
        ("postgresql://u:geheim@h1:1,h2:2/db?sslmode=require", None),
        ("postgresql://u@/db?host=/run/pg&password=geheim", None),
        ("postgresql://h/db?PASSWORD=geheim&sslpassword=geheim", None),
        ("postgresql:///db?service=clonepool", "postgresql:///db?service=clonepool"),
    ],
)
def test_what_is_secret_is_not_shown(url: str, shown: str | None) -> None:
    found = shown_url(url)
    assert "geheim" not in found
    assert "he/im" not in found
    assert shown is None or shown == found
    assert has_secret(url) == ("***" in found)
    assert found == shown_url(found)


@pytest.mark.parametrize("url", ["mysql://u:geheim@h/db", "dbname=x password=geheim", "/a/path"])
def test_what_is_no_such_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(InvalidArgument, match="postgresql://user@host/db") as refused:
        check_url(url, field="database")
    assert "geheim" not in str(refused.value)

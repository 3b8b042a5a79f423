"""Secrets rest sealed under a key file of the engine's user alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clonepool.errors import DataLoss, FailedPrecondition
from clonepool.store.secrets import SecretBox


def test_a_sealed_secret_opens_in_its_context(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "secret.key")
    sealed = box.seal("opensesame42", context="attachment/1")
    assert "opensesame42" == box.open(sealed, context="attachment/1")
    assert "opensesame42" not in sealed


def test_the_same_secret_is_sealed_differently_each_time(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "secret.key")
    assert box.seal("a", context="c") != box.seal("a", context="c")


def test_a_secret_moved_to_another_row_does_not_open(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "secret.key")
    sealed = box.seal("opensesame42", context="attachment/1")
    with pytest.raises(DataLoss, match="attachment/2"):
        box.open(sealed, context="attachment/2")


def test_the_next_start_opens_what_the_last_sealed(tmp_path: Path) -> None:
    sealed = SecretBox(tmp_path / "secret.key").seal("opensesame42", context="c")
    assert "opensesame42" == SecretBox(tmp_path / "secret.key").open(sealed, context="c")


def test_another_key_does_not_open_and_the_message_says_what_to_restore(tmp_path: Path) -> None:
    sealed = SecretBox(tmp_path / "a.key").seal("opensesame42", context="c")
    with pytest.raises(DataLoss, match=r"b\.key") as refused:
        SecretBox(tmp_path / "b.key").open(sealed, context="c")
    assert "opensesame42" not in str(refused.value)


def test_the_key_file_is_the_engines_users_alone(tmp_path: Path) -> None:
    SecretBox(tmp_path / "secret.key")
    assert 0o600 == (tmp_path / "secret.key").stat().st_mode & 0o777
    assert ["secret.key"] == os.listdir(tmp_path)


def test_a_key_that_others_may_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    SecretBox(path)
    path.chmod(0o640)
    with pytest.raises(FailedPrecondition, match="chmod 600"):
        SecretBox(path)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(FailedPrecondition, match="backup"):
        SecretBox(path)


@pytest.mark.parametrize("step", ["secrets.token_bytes", "os.fdopen", "os.fsync"])
def test_a_start_that_was_cut_off_leaves_no_half_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else the next start would ask for a backup of a key that never was."""

    def die(*_arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(f"clonepool.store.secrets.{step}", die)
        with pytest.raises(SystemExit):
            SecretBox(tmp_path / "secret.key")
    box = SecretBox(tmp_path / "secret.key")
    assert "a" == box.open(box.seal("a", context="c"), context="c")
    assert ["secret.key"] == os.listdir(tmp_path)

"""Parts of the rbd driver that need no cluster: names, options, calls that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from clonepool.backends.rbd_index import Kind, Mark
from clonepool.backends.rbd_namespaces import namespace_of
from clonepool.backends.rbd_options import RbdOptions
from clonepool.backends.rbd_watchdog import StillWaiting, Watchdog
from clonepool.domain.model import SystemUser
from clonepool.domain.states import SystemUserKind
from clonepool.errors import InvalidArgument

NAMES = ("acme", "Acme", "a cme", "a-cme", "a_cme", "é", "è", "a" * 63, "a" * 64, "a" * 65, "x/y@z")


def test_no_two_system_users_have_the_same_namespace() -> None:
    users = [SystemUser(name=name, kind=kind) for name in NAMES for kind in SystemUserKind]
    made = [namespace_of(user, prefix="clonepool") for user in [None, *users]]
    assert len(made) == len(set(made))
    # what Ceph takes as a namespace's name, and nothing that its programs would take apart
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._") for name in made)
    assert max(map(len, made)) < 100


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("conf", "ceph.conf", "is not an absolute path"),
        ("keyring", "key", "is not an absolute path"),
        ("pool", "a/b", "does not match"),
        ("client", "client admin", "does not match"),
        ("namespace_prefix", "a.b", "does not match"),
        ("osd_timeout", "0s", "a second or more"),
        ("mon_timeout", "soon", "mon_timeout"),
        ("clones_per_snapshot", "0", "is not a whole number above 0"),
    ],
)
def test_an_option_that_can_t_be_meant_is_refused_by_name(
    option: str, value: str, why: str
) -> None:
    with pytest.raises(InvalidArgument, match=rf"{option}.*{why}|{why}"):
        RbdOptions.read({option: value})


def test_the_client_is_told_every_time_limit_and_to_keep_no_cache() -> None:
    told = RbdOptions.read({"osd_timeout": "2500ms", "mon_timeout": "4s"}).cluster.options()
    assert ("3", "4", "4", "false") == (
        told["rados_osd_op_timeout"],
        told["rados_mon_op_timeout"],
        told["client_mount_timeout"],
        told["rbd_cache"],
    )


def test_a_mark_is_read_as_it_was_written_and_by_an_older_version_too() -> None:
    mark = Mark(id="10ab", kind=Kind.THIN, size_bytes=5, used_bytes=3, parent_id="99")
    assert mark == Mark.decode(mark.encode())
    assert mark == Mark.decode(mark.encode()[:-1] + b', "new": 1}')


def hang(beat: Callable[..., int], *, released: threading.Event, beats: int = 0) -> str:
    for _ in range(beats):
        beat(1, 2)
        time.sleep(0.1)
    released.wait(30)
    return "late"


def test_a_call_that_gives_no_sign_of_life_is_left_behind() -> None:
    released = threading.Event()
    began = time.monotonic()
    with pytest.raises(StillWaiting):
        Watchdog(limit_s=0.3).run(lambda beat: hang(beat, released=released))
    assert time.monotonic() - began < 3
    released.set()


def test_signs_of_life_let_a_call_take_its_time() -> None:
    released = threading.Event()
    released.set()
    run = Watchdog(limit_s=0.5).run
    assert "late" == run(lambda beat: hang(beat, released=released, beats=10))


def test_what_a_call_raises_is_raised_and_a_wrapped_object_answers_as_itself() -> None:
    watchdog = Watchdog(limit_s=5)
    with pytest.raises(ValueError, match="invalid literal"):
        watchdog.run(lambda _beat: int("x"))
    assert ["a", "b"] == watchdog.wrap("a b").split(" ")

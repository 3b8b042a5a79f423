"""Bad input: each problem at its input, before anything is touched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.faces.bench import Bench, problems, refusal
from tests.faces.model import Declared
from tests.faces.table import Case, Outcome

_LABEL_LIMIT = 64


def _refused(bench: Bench, declare: Callable[[Bench], Declared]) -> Outcome:
    """The plan names it, and an apply makes nothing of it either."""
    program = [declare(bench)]
    found = problems(bench.stack, program)
    refusal(lambda: bench.stack.apply(program))
    return {"problems": found, "left": dict(bench.stack.ids())}


def _named(what: str, name: str) -> Callable[[Bench], Declared]:
    return lambda bench: getattr(bench, what)().but(name=name)


def _two_ways(bench: Bench) -> Declared:
    return bench.attachment(pool="web", server="web1").but(inline_server={"name": "web2"})


def _no_way(bench: Bench) -> Declared:
    return bench.attachment(pool="web").but(inline_server=None)


def _mode_without_account(bench: Bench) -> Declared:
    return bench.attachment(pool="web", chap={"mode": "given", "username": "web"})


def _account_without_mode(bench: Bench) -> Declared:
    account = {"username": "web", "secret": "secret-of-the-web"}
    return bench.attachment(pool="web", chap=account)


def _short_secret(bench: Bench) -> Declared:
    account = {"mode": "given", "username": "web", "secret": "short"}
    return bench.attachment(pool="web", chap=account)


def _secret_stays_unsaid(bench: Bench) -> Outcome:
    said = refusal(lambda: bench.stack.plan([_short_secret(bench)])).text
    return {"shown": "short" in said.replace("shorter", "")}


def _size(bench: Bench) -> Declared:
    source = str(bench.stock.source)
    return bench.image(writable={"source": source, "size": "10 gigabytes"})


def _part_of_a_sector(bench: Bench) -> Declared:
    return bench.image(writable={"source": str(bench.stock.source), "size": "1000B"})


def _relative_path(bench: Bench) -> Declared:
    files = [
        {"portion": "writable", "path": "/etc/fine", "content": "a"},
        {"portion": "writable", "path": "etc/wrong", "content": "b"},
    ]
    return bench.image(preconfigure=files)


def _several(bench: Bench) -> Declared:
    return bench.pool(min_ready=-1, clone_mode="quick", scrub={"threshold": 0, "then": "sell"})


def _duration(bench: Bench) -> Declared:
    return bench.attachment(pool="web", timeouts={"create": "soon"})


def _too_many_labels(bench: Bench) -> Declared:
    return bench.server(labels={f"key{number}": "x" for number in range(_LABEL_LIMIT + 1)})


def _unknown_kind(bench: Bench) -> Declared:
    return bench.image(system_user={"name": "acme", "kind": "tenant"})


def _case(name: str, declare: Callable[[Bench], Declared], *paths: str) -> Case:
    return Case(
        name=name,
        play=partial(_refused, declare=declare),
        expect={"problems": sorted(paths), "left": {}},
    )


CASES = (
    _case("a name with a capital letter is refused", _named("server", "Web"), "name"),
    _case("a name that is too long is refused", _named("pool", "a" * 64), "name"),
    _case("two ways to the server are refused", _two_ways, "inline_server"),
    _case("no way to the server is refused", _no_way, "server"),
    _case(
        "a threshold of zero is refused",
        lambda bench: bench.pool(scrub={"threshold": 0}),
        "scrub.threshold",
    ),
    _case(
        "a stock that the pool cannot hold is refused",
        lambda bench: bench.pool(min_ready=5, max_replicas=4),
        "min_ready",
    ),
    _case(
        "waiting for more replicas than are kept is refused",
        lambda bench: bench.pool(min_ready=2, wait_for_ready=3),
        "wait_for_ready",
    ),
    _case(
        "calling a stock low that is never larger is refused",
        lambda bench: bench.pool(min_ready=2, scrub={"on_low_stock": 3}),
        "scrub.on_low_stock",
    ),
    _case(
        "a word that is not one of a few is refused",
        lambda bench: bench.pool(when_empty="panic"),
        "when_empty",
    ),
    _case("a word that is no kind of system user is refused", _unknown_kind, "system_user.kind"),
    _case("a size without a proper unit is refused", _size, "writable.size"),
    _case("a size of part of a sector is refused", _part_of_a_sector, "writable.size"),
    _case("a duration without a unit is refused", _duration, "timeouts.create"),
    _case("a given account without its secret is refused", _mode_without_account, "chap.secret"),
    _case(
        "an account with another mode is refused",
        _account_without_mode,
        "chap.username",
        "chap.secret",
    ),
    _case("a secret that is too short is refused", _short_secret, "chap.secret"),
    _case("a path in a list is named by its place", _relative_path, "preconfigure[1].path"),
    _case("too many labels are refused", _too_many_labels, "labels"),
    _case(
        "an initiator that is none is refused",
        lambda bench: bench.server(initiator="web1"),
        "initiator",
    ),
    _case(
        "several problems are all named at once",
        _several,
        "clone_mode",
        "min_ready",
        "scrub.then",
        "scrub.threshold",
    ),
    Case(
        name="a secret that is refused is not shown",
        play=_secret_stays_unsaid,
        expect={"shown": False},
    ),
)

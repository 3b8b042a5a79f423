"""The ticket that attachments bring: configured, else of the environment; no use is no error."""

from __future__ import annotations

import pytest
from pulumi.dynamic.dynamic import serialize_provider

from clonepool.errors import InvalidArgument
from clonepool_resources.server_lifecycle import AttachmentLifecycle
from clonepool_resources.tickets import chosen_ticket
from pulumi_clonepool import providers
from pulumi_clonepool.settings import Settings
from pulumi_clonepool_plugin import configuration
from pulumi_clonepool_plugin.properties import UNKNOWN
from terraform_clonepool import wire
from terraform_clonepool.session import Session
from tests.provider.bench import ATTACHMENT, Bench, checked
from tests.provider.dynamic_server import serve
from tests.provider.faulty_engine import FaultyEngine

BAD = ["a\nb", "\x00", "a" * 129, "a\tb"]


def test_what_is_configured_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "" == chosen_ticket("")
    monkeypatch.setenv("CLONEPOOL_HOLD", " from-outside\n")
    assert ["from-outside", "mine"] == [chosen_ticket(text) for text in (" ", "mine\n")]


@pytest.mark.parametrize("text", BAD)
def test_what_can_be_no_ticket_is_refused_naming_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for settings in (
        lambda: Settings.of({"clonepool:hold": text}.get),
        lambda: configuration.Settings.of({"hold": text}),
        lambda: Session().configure({"hold": text}),
    ):
        with pytest.raises(InvalidArgument, match=r"^hold: can be no ticket"):
            settings()
    assert ["hold"] == [each.field for each in configuration.problems({"hold": text})]
    if "\x00" not in text:
        monkeypatch.setenv("CLONEPOOL_HOLD", text)
        with pytest.raises(InvalidArgument, match=r"^CLONEPOOL_HOLD: can be no ticket"):
            Settings.of({}.get)


def test_every_face_takes_it_of_its_configuration_or_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(text: str) -> list[str]:
        session = Session()
        session.configure({"hold": text or None})
        by_class = Settings.of({"clonepool:hold": text}.get).hold
        return [by_class, configuration.Settings.of({"hold": text}).hold, session.hold]

    assert ["mine"] * 3 == found("mine")
    assert [""] * 3 == found("")
    monkeypatch.setenv("CLONEPOOL_HOLD", "from-outside")
    assert ["from-outside"] * 3 == found("")


def test_another_ticket_is_no_change_of_the_provider() -> None:
    """Else every preview with a new ticket would show an update."""
    old, new = {"endpoint": "unix:///a", "hold": "t1"}, {"endpoint": "unix:///a", "hold": "t2"}
    assert () == configuration.changed(old, new)
    assert () == configuration.changed(old, {"endpoint": "unix:///a", "hold": UNKNOWN})
    assert ("endpoint",) == configuration.changed(old, {"hold": "t1"})


def test_a_ticket_that_is_not_known_yet_keeps_nothing_from_being_planned() -> None:
    assert () == configuration.Settings.of({"hold": UNKNOWN}).unknown
    session = Session()
    session.configure({"endpoint": "unix:///nowhere/engine.sock", "hold": wire.UNKNOWN})
    assert (True, "") == (session.is_reachable, session.hold)


def test_an_attachment_brings_it_with_every_poll(bench: Bench, engine: FaultyEngine) -> None:
    engine.knobs.stock = 0

    def refill(pause_s: float) -> None:
        bench.now += pause_s
        engine.knobs.stock = 1 if bench.now > 1 else 0

    bench.sleep = refill  # type: ignore[method-assign]
    made = bench.make(AttachmentLifecycle, hold="mine")
    made.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")
    assert {"mine"} == set(engine.knobs.tickets)
    assert len(engine.knobs.tickets) > 2
    assert [] == bench.warnings


def test_a_ticket_that_is_no_use_is_warned_of_once(bench: Bench, engine: FaultyEngine) -> None:
    made = bench.make(AttachmentLifecycle, hold="spent")
    state = made.create(checked(AttachmentLifecycle, ATTACHMENT), token="t")
    assert state.outputs["volume"]
    said = "attachment a1: ticket spent has expired; it goes on without"
    assert [said] == bench.warnings


def test_the_dynamic_provider_brings_it_and_warns(engine: FaultyEngine, endpoint: str) -> None:
    blob = serialize_provider(providers.ServerStorageAttachmentProvider())
    named = {**ATTACHMENT, "__request_token": "t"}
    with serve(blob, environment={"CLONEPOOL_ENDPOINT": endpoint}) as server:
        server.configure({"clonepool:hold": "spent"})
        inputs, _ = server.check(named)
        server.create(inputs)
        lines = dict(zip(server.display.lines, server.display.ephemeral, strict=True))
    assert ["spent"] == engine.knobs.tickets
    said = "clonepool: attachment a1: ticket spent has expired; it goes on without"
    assert {said: False} == lines

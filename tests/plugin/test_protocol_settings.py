"""The plugin's handshake, its settings, its schema and its end, spoken to without Pulumi."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2

import clonepool
from tests.plugin.harness import (
    UNKNOWN,
    Display,
    Plugin,
    failure_of,
    running_plugin,
    secret,
    struct,
    urn,
    values,
)
from tests.provider.faulty_engine import FaultyEngine

ROOT = Path(__file__).resolve().parents[2]
POOL = {"name": "web", "masterImage": "base", "minReady": 3, "waitForReady": 3}


def test_it_starts_without_the_rest_of_pulumi_s_sdk_and_without_the_engine() -> None:
    """Every preview starts a plugin: ``import pulumi`` alone takes longer than all of it."""
    program = (
        "import json, sys\n"
        "from clonepool.api.light_start import import_grpc\n"
        "import_grpc()\n"
        "import pulumi_clonepool_plugin.process\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))

    heavy = {"pulumi", "pulumi_clonepool", "clonepool.api.client", "clonepool.engine"}
    heavy |= {"asyncio", "grpc.aio._channel", "cyclopts", "rich"}
    assert set() == heavy & loaded


def test_it_says_what_it_is(plugin: Plugin) -> None:
    info = plugin.stub.GetPluginInfo(empty_pb2.Empty())
    schema = json.loads(plugin.stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)

    assert clonepool.__version__ == info.version
    assert json.loads((ROOT / "schema.json").read_text()) == schema


def test_a_token_that_is_needed_is_named_as_a_missing_key(plugin: Plugin) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        plugin.configure(endpoint="tcp://storage.example:7443")

    failure = failure_of(refused.value)
    ((key,),) = (detail.missingKeys for detail in failure.details)
    assert "clonepool:token" == key.name
    assert "CLONEPOOL_TOKEN" in key.description
    # with it, or on a socket, nothing is missing
    plugin.configure(endpoint="tcp://storage.example:7443", token="t")
    plugin.configure(endpoint="unix:///run/clonepool/engine.sock")
    with pytest.raises(grpc.RpcError):
        plugin.configure(endpoint="unix:///run/clonepool/engine.sock,tcp://storage.example:7443")
    plugin.configure()


def test_a_token_of_the_environment_will_do(plugin_bin: Path) -> None:
    with running_plugin(plugin_bin, CLONEPOOL_TOKEN="t") as plugin:
        plugin.configure(endpoint="tcp://storage.example:7443")


def test_settings_are_checked_by_key_and_the_token_kept_secret(plugin: Plugin) -> None:
    def check(**news: object) -> provider_pb2.CheckResponse:
        request = provider_pb2.CheckRequest(urn="urn:pulumi:...", news=struct(news))
        answer: provider_pb2.CheckResponse = plugin.stub.CheckConfig(request)
        return answer

    wrong = check(endpoint="storage.example", token="a\nb", caFile=3)
    right = check(endpoint="tcp://storage.example:7443", token="t", version="0.1.0")
    several = check(endpoint="tcp://storage1.example:7443, tcp://storage2.example:7443")
    unknown = check(endpoint=UNKNOWN)

    assert {"endpoint", "token", "caFile"} == {failure.property for failure in wrong.failures}
    assert "write unix:///path/engine.sock or tcp://host:port" in wrong.failures[0].reason
    assert not right.failures
    assert {
        "endpoint": "tcp://storage.example:7443",
        "token": secret("t"),
        "version": "0.1.0",
    } == values(right.inputs)
    assert not several.failures
    assert not unknown.failures


def test_a_key_that_is_nearly_a_setting_is_warned_of_and_a_program_s_own_is_not(
    plugin: Plugin,
) -> None:
    news = struct({"endpont": "tcp://a:1", "cafile": "x", "hold": "", "replicas": "3"})
    answer = plugin.stub.CheckConfig(provider_pb2.CheckRequest(urn="u", news=news))

    assert [] == list(answer.failures)
    assert [
        "clonepool:cafile is no setting; did you mean clonepool:caFile?",
        "clonepool:endpont is no setting; did you mean clonepool:endpoint?",
    ] == [line for _, line in plugin.display.lines]


def test_another_engine_is_no_reason_to_replace_what_was_made(plugin: Plugin) -> None:
    old, new = {"endpoint": "unix:///a.sock"}, {"endpoint": "unix:///b.sock"}
    request = provider_pb2.DiffRequest(
        olds=struct(old), old_inputs=struct(old), news=struct(new), urn="urn:pulumi:..."
    )
    changed = plugin.stub.DiffConfig(request)
    request.news.CopyFrom(struct(old))

    assert (provider_pb2.DiffResponse.DIFF_SOME, ["endpoint"], []) == (
        changed.changes,
        list(changed.detailedDiff),
        list(changed.replaces),
    )
    assert provider_pb2.DiffResponse.DIFF_NONE == plugin.stub.DiffConfig(request).changes


def test_a_preview_needs_no_engine_and_an_unknown_one_is_said(plugin: Plugin) -> None:
    plugin.configure(endpoint=UNKNOWN)
    inputs = plugin.checked("ReplicaPool", POOL)

    assert values(plugin.create("ReplicaPool", inputs, preview=True).properties)["minReady"] == 3
    with pytest.raises(grpc.RpcError) as refused:
        plugin.create("ReplicaPool", inputs)
    assert (
        "the provider's endpoint is only known after the update" in failure_of(refused.value).text
    )


def test_an_engine_that_is_away_is_said_in_one_line(plugin: Plugin) -> None:
    plugin.configure(endpoint="unix:///nowhere/engine.sock")

    with pytest.raises(grpc.RpcError) as refused:
        plugin.create("ReplicaPool", plugin.checked("ReplicaPool", POOL))

    failure = failure_of(refused.value)
    assert "UNAVAILABLE" == failure.code
    assert "no engine answers at unix:///nowhere/engine.sock" in failure.text


def test_an_engine_that_attaches_later_gets_the_progress(
    plugin: Plugin, engine: FaultyEngine, endpoint: str
) -> None:
    """PULUMI_DEBUG_PROVIDERS: one process serves one run after another, a stopped one included."""
    plugin.configure(endpoint=endpoint)
    plugin.stub.Cancel(empty_pb2.Empty())
    engine.knobs.fill_looks = 2
    with Display.served() as (display, address):
        plugin.stub.Attach(plugin_pb2.PluginAttach(address=address))
        plugin.configure(endpoint=endpoint)
        plugin.create("ReplicaPool", plugin.checked("ReplicaPool", POOL))

        assert ["pool web: cloning 1/3", "pool web: cloning 2/3"] == [
            line for _, line in display.lines
        ]
    assert [] == plugin.display.lines


def test_an_interrupt_ends_it_in_good_order(plugin: Plugin) -> None:
    plugin.process.send_signal(signal.SIGINT)

    assert 0 == plugin.process.wait(10)


def test_attachments_bring_the_ticket_and_one_of_no_use_is_warned_of(
    plugin: Plugin, engine: FaultyEngine, endpoint: str
) -> None:
    attachment = {"name": "a1", "pool": "web", "server": "web1"}
    plugin.configure(endpoint=endpoint, hold="spent")

    plugin.create("ServerStorageAttachment", plugin.checked("ServerStorageAttachment", attachment))

    assert ["spent"] == engine.knobs.tickets
    said = "attachment a1: ticket spent has expired; it goes on without"
    assert [(urn("ServerStorageAttachment"), said)] == plugin.display.lines


def test_the_ticket_of_this_run_counts_though_pulumi_configures_by_the_last_one_s(
    plugin: Plugin, engine: FaultyEngine, endpoint: str
) -> None:
    """Where DiffConfig finds nothing, Pulumi hands Configure the settings of its state."""
    attachment = {"name": "a1", "pool": "web", "server": "web1"}
    for now, brought in (({"hold": "new"}, "new"), ({}, "")):
        news = struct({"endpoint": endpoint, **now})
        plugin.stub.CheckConfig(provider_pb2.CheckRequest(urn="urn:pulumi:...", news=news))
        plugin.configure(endpoint=endpoint, hold="of-the-last-run")
        plugin.create(
            "ServerStorageAttachment",
            plugin.checked("ServerStorageAttachment", {**attachment, "name": f"a{len(now)}"}),
        )
        assert brought == engine.knobs.tickets[-1]


def test_another_ticket_is_no_change_of_the_provider(plugin: Plugin) -> None:
    request = provider_pb2.DiffRequest(
        old_inputs=struct({"hold": "t1"}), news=struct({"hold": "t2"}), urn="urn:pulumi:..."
    )

    assert provider_pb2.DiffResponse.DIFF_NONE == plugin.stub.DiffConfig(request).changes


def test_what_can_be_no_ticket_is_refused_by_its_key(plugin: Plugin) -> None:
    request = provider_pb2.CheckRequest(urn="urn:pulumi:...", news=struct({"hold": "a\nb"}))

    (failure,) = plugin.stub.CheckConfig(request).failures

    assert "hold" == failure.property
    assert "at most 128 printable characters" in failure.reason

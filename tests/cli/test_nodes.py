"""`clonepool node` against the engine in memory."""

from __future__ import annotations

from tests.cli.conftest import Run
from tests.service.fake_engine import FakeEngine


def test_the_list_says_who_is_silent_and_what_all_reach(run: Run) -> None:
    code, out, _ = run("node", "list")

    heading, first, second = out.splitlines()
    assert 0 == code
    assert ["NODE", "STATE", "HEARD_OF"] == heading.split()[:3]
    assert first.split()[:2] == ["node1", "live"]
    assert second.split()[:2] == ["node2", "silent"]
    assert "ceph (shared), default" in first


def test_a_node_is_drained_and_undrained(run: Run, engine: FakeEngine) -> None:
    code, out, _ = run("node", "drain", "node1")

    assert (0, "node node1 is draining; servers hold 3 volumes of it\n") == (code, out)
    assert "live, draining" in run("node", "show", "node1")[1]
    assert (0, "node node1 takes work again\n") == run("node", "undrain", "node1")[:2]
    assert not engine.nodes.items["node1"].draining


def test_draining_waits_for_what_runs_there(run: Run) -> None:
    """The engine in memory has two operations, which never end."""
    code, _, error = run("node", "drain", "node1", "--wait", "200ms")

    assert 1 == code
    assert error.startswith("error: node node1 still runs 2 operations after 200ms; see")


def test_only_a_silent_node_is_forgotten(run: Run) -> None:
    assert (0, "node node2 is forgotten\n") == run("node", "forget", "node2")[:2]
    assert 0 == run("node", "forget", "node2")[0]
    code, _, error = run("node", "forget", "node1")
    assert (1, "error: node node1 is alive; end its engine first\n") == (code, error)


def test_a_node_that_is_not_there_is_said_with_the_way_out(run: Run) -> None:
    code, _, error = run("node", "show", "node9")

    assert 1 == code
    assert "there is no node node9; `clonepool node list` shows what there is" in error


def test_what_can_be_no_name_is_refused(run: Run) -> None:
    code, _, error = run("node", "show", "Node_1")

    assert 2 == code
    assert "1 to 63 characters" in error

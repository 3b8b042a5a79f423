"""What a plan says: defaults, what is not known yet, and what is only another spelling."""

from __future__ import annotations

from typing import Any

from tests.faces.bench import Bench, actions, plan_or_problems
from tests.faces.differences import Difference
from tests.faces.model import UNKNOWN, Declared, Face
from tests.faces.table import Case, Outcome

_DEFAULTS = {
    "clone_mode": "auto",
    "max_replicas": 100,
    "min_ready": 1,
    "rollout": {"max_unavailable": 1},
    "scrub": {
        "assurance": "clear",
        "method": "reformat",
        "on_low_space": True,
        "then": "recycle",
        "threshold": 10,
        "undo_window": "0s",
        "verify": "none",
    },
    "wait_for_ready": 1,
    "when_empty": "wait",
}


def _defaults(bench: Bench) -> Outcome:
    bare = bench.pool(min_ready=None)
    planned = bench.stack.plan([bare])["pool"]
    bench.stack.apply([bare])
    spec = bench.spec("Pool", bench.name("pool"))
    return {
        "plan": {name: planned.inputs.get(name) for name in _DEFAULTS},
        "engine": [spec.min_ready, spec.max_replicas, spec.scrub.threshold, spec.clone_mode],
        "second plan": actions(bench.stack.plan([bare])),
    }


def _default_at_most(bench: Bench) -> Outcome:
    planned = bench.stack.plan([bench.pool(min_ready=0)])["pool"]
    return {"wait_for_ready": planned.inputs.get("wait_for_ready")}


def _default_comes_back(bench: Bench) -> Outcome:
    bench.stack.apply([bench.pool(max_replicas=7, scrub={"threshold": 3, "method": "zero"})])
    plain = [bench.pool()]
    planned = actions(bench.stack.plan(plain))
    bench.stack.apply(plain)
    spec = bench.spec("Pool", bench.name("pool"))
    return {
        "plan": planned,
        "engine": [spec.max_replicas, spec.scrub.threshold, spec.scrub.method],
        "second plan": actions(bench.stack.plan(plain)),
    }


def _outputs_to_come(bench: Bench) -> Outcome:
    planned = bench.stack.plan([bench.attachment(pool="some-pool")])["storage"]
    told = {"volume", "connection", "warm", "image_version", "allocated_at", "chap_username"}
    return {"unknown": sorted(planned.unknown & told)}


def _changed_by(bench: Bench, before: Declared, **unknown: Any) -> Outcome:
    bench.stack.apply([before])
    planned = bench.stack.plan([before.but(**unknown)])[before.label]
    return {"action": planned.action, "replaces": list(planned.replaces)}


def _unknown_label(bench: Bench) -> Outcome:
    return _changed_by(bench, bench.server(labels={"a": "b"}), labels={"a": UNKNOWN})


def _unknown_initiator(bench: Bench) -> Outcome:
    return _changed_by(bench, bench.server(), initiator=UNKNOWN)


def _unknown_nested(bench: Bench) -> Outcome:
    return _changed_by(bench, bench.pool(), scrub={"threshold": UNKNOWN})


def _unknown_image(bench: Bench) -> Outcome:
    return _changed_by(bench, bench.pool(), master_image=UNKNOWN)


def _unknown_name(bench: Bench) -> Outcome:
    return _changed_by(bench, bench.server(), name=UNKNOWN)


def _unknown_nested_owner(bench: Bench) -> Outcome:
    owner = {"name": UNKNOWN, "kind": "customer"}
    return _changed_by(bench, bench.image(), system_user=owner)


def _unknown_on_create(bench: Bench) -> Outcome:
    planned = bench.stack.plan([bench.attachment(pool=UNKNOWN, server=UNKNOWN)])["storage"]
    return {"action": planned.action}


def _unknown_second_way(bench: Bench) -> Outcome:
    declared = bench.attachment(pool="some-pool", server=UNKNOWN).but(inline_server={"name": "s"})
    return plan_or_problems(bench.stack, [declared])


def _sizes(bench: Bench) -> Outcome:
    source = str(bench.stock.source)
    before = bench.image(writable={"source": source, "size": "16MiB"})
    bench.stack.apply([before])
    spelled = bench.image(writable={"source": source, "size": "16384KiB"})
    moved = bench.image(writable={"source": source, "size": "17MiB"})
    return {
        "spelled otherwise": actions(bench.stack.plan([spelled])),
        "another size": actions(bench.stack.plan([moved])),
    }


def _durations(bench: Bench) -> Outcome:
    pool = bench.stocked_pool()
    before = bench.attachment(pool=pool, timeouts={"create": "90s", "delete": "1h"})
    bench.stack.apply([before])
    spelled = before.but(timeouts={"create": "1.5m", "delete": "60m"})
    return {"spelled otherwise": actions(bench.stack.plan([spelled]))}


def _case_of_an_initiator(bench: Bench) -> Outcome:
    name = f"iqn.2026-01.com.example:{bench.prefix}"
    before = bench.server(initiator=name.replace("com.example", "com.Example"))
    bench.stack.apply([before])
    return {"lower case": actions(bench.stack.plan([before.but(initiator=name)]))}


def _order_of_labels(bench: Bench) -> Outcome:
    bench.stack.apply([bench.server(labels={"rack": "r1", "row": "7", "team": "web"})])
    turned = bench.server(labels={"team": "web", "row": "7", "rack": "r1"})
    bench.stack.refresh()
    return {"another order": actions(bench.stack.plan([turned]))}


def _spelled_out_defaults(bench: Bench) -> Outcome:
    bench.stack.apply([bench.pool(min_ready=None)])
    return {"plan": actions(bench.stack.plan([bench.pool(**_DEFAULTS)]))}


def _empty_labels(bench: Bench) -> Outcome:
    bench.stack.apply([bench.server()])
    bench.stack.refresh()
    return {"plan": actions(bench.stack.plan([bench.server()]))}


_UPDATED = {"action": "update", "replaces": []}
CASES = (
    Case(
        name="defaults are filled in and are what the engine takes",
        play=_defaults,
        expect={"plan": _DEFAULTS, "engine": [1, 100, 10, "auto"], "second plan": {}},
    ),
    Case(
        name="a default is never more than what bounds it",
        play=_default_at_most,
        expect={"wait_for_ready": 0},
    ),
    Case(
        name="a setting that is removed returns to its default",
        play=_default_comes_back,
        expect={
            "plan": {"pool": "update"},
            "engine": [100, 10, "reformat"],
            "second plan": {},
        },
    ),
    Case(
        name="what only the engine can tell is unknown before",
        play=_outputs_to_come,
        expect={
            "unknown": [
                "allocated_at",
                "chap_username",
                "connection",
                "image_version",
                "volume",
                "warm",
            ]
        },
    ),
    Case(
        name="an unknown value in a map is an update in place",
        play=_unknown_label,
        expect=_UPDATED,
    ),
    Case(
        name="an unknown value in a plain field is an update in place",
        play=_unknown_initiator,
        expect=_UPDATED,
    ),
    Case(
        name="an unknown value inside an object is an update in place",
        play=_unknown_nested,
        expect=_UPDATED,
    ),
    Case(
        name="an unknown value in a field that forces replacement is a replacement",
        play=_unknown_image,
        expect={"action": "replace", "replaces": ["master_image"]},
    ),
    Case(
        name="an unknown name is a replacement",
        play=_unknown_name,
        expect={"action": "replace", "replaces": ["name"]},
    ),
    Case(
        name="an unknown value that forces replacement inside an object is a replacement",
        play=_unknown_nested_owner,
        expect={"action": "replace", "replaces": ["system_user.name"]},
    ),
    Case(
        name="what is unknown does not hold up the plan of a creation",
        play=_unknown_on_create,
        expect={"action": "create"},
    ),
    Case(
        name="an unknown value counts as given where two ways exclude each other",
        play=_unknown_second_way,
        expect={"plan": {}, "refused": ["inline_server"]},
        differs={
            Difference.MAY_BE_NULL: {Face.TERRAFORM: {"plan": {"storage": "create"}, "refused": []}}
        },
    ),
    Case(
        name="a size in another spelling is no change",
        play=_sizes,
        expect={"spelled otherwise": {}, "another size": {"image": "update"}},
    ),
    Case(
        name="a duration in another spelling is no change",
        play=_durations,
        expect={"spelled otherwise": {}},
    ),
    Case(
        name="an initiator name in another case is no change",
        play=_case_of_an_initiator,
        expect={"lower case": {}},
    ),
    Case(
        name="the order of labels does not matter",
        play=_order_of_labels,
        expect={"another order": {}},
    ),
    Case(
        name="a default that is spelled out is no change",
        play=_spelled_out_defaults,
        expect={"plan": {}},
    ),
    Case(
        name="what was never set is no drift after a refresh",
        play=_empty_labels,
        expect={"plan": {}},
    ),
)

"""The Pulumi command line: a Python program on the dynamic classes, or a YAML one on the plugin."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from clonepool_resources.declaration import resource
from pulumi_clonepool_plugin.spelling import to_declared
from tests.faces.background import CommandRunning, plain
from tests.faces.model import Face, Plan, Planned, Program, Refused, snake
from tests.faces.programs import python_program, yaml_program
from tests.faces.stack import CommandStack, Running
from tests.support.pulumi_project import PulumiProject

_WRITERS = {Face.DYNAMIC: python_program, Face.PLUGIN: yaml_program}
_TYPES = {
    Face.DYNAMIC: "pulumi-python:dynamic/clonepool:",
    Face.PLUGIN: "clonepool:index:",
}
_ACTIONS = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "same": "none",
}
_PROBLEM = re.compile(r"property (?P<path>\S+) value .*? has a problem: (?P<reason>[^\n]*)")
# a dynamic provider is not told of the first Ctrl-C; the second ends it
_PRESSES = {Face.DYNAMIC: 2, Face.PLUGIN: 1}


class PulumiStack(CommandStack):
    """The one stack of a project; a case leaves it empty."""

    def __init__(self, project: PulumiProject, *, face: Face) -> None:
        self.face = face
        self._project = project

    def plan(self, program: Program) -> Plan:
        self._write(program)
        done = self._project.run("preview", "--json", expect=None)
        if done.exit_code != 0:
            raise _refused(done.text)
        found: dict[str, Planned] = {}
        for step in json.loads(done.stdout)["steps"]:
            if "clonepool" in step["urn"]:
                label, inputs = _label(step), step.get("newState", {}).get("inputs", {})
                found[label] = Planned(action=_ACTIONS[step["op"]], inputs=inputs)
        return found

    def apply(self, program: Program) -> None:
        self._write(program)
        self._run("up", "--skip-preview")

    def begin(self, program: Program) -> Running:
        self._write(program)
        argv = [str(self._project.pulumi_bin / "pulumi"), "up", "--skip-preview"]
        return CommandRunning(
            [*argv, "--non-interactive", "--color=never"],
            folder=self._project.folder / "program",
            environment=self._project.environment(),
            presses=_PRESSES[self.face],
        )

    def recover(self) -> None:
        # a command that was killed leaves its lock, and what it had begun as pending
        self._run("cancel", "--yes")
        self._run("refresh", "--skip-preview", "--clear-pending-creates")

    def refresh(self) -> None:
        self._run("refresh", "--skip-preview")

    def bring_in(self, program: Program, ids: Mapping[str, str]) -> None:
        self._write(program)
        wanted = [
            {"type": f"{_TYPES[self.face]}{each.kind}", "name": each.label, "id": ids[each.label]}
            for each in program
            if each.label in ids
        ]
        path = self._project.folder / "import.json"
        path.write_text(json.dumps({"resources": wanted}))
        words = ("--generate-code=false", "--protect=false", "--skip-preview")
        done = self._project.run("import", "--file", str(path), *words, expect=None)
        if done.exit_code != 0:
            # for a dynamic resource Pulumi itself answers with a traceback, before it asks us
            raise Refused(plain(done.text))

    def forget(self) -> None:
        for each in [each["urn"] for each in self._resources()][::-1]:
            self._run("state", "delete", each, "--yes")

    def replace_by_hand(self, program: Program, label: str) -> None:
        self._write(program)
        (urn,) = [each["urn"] for each in self._resources() if _label(each) == label]
        self._run("up", "--skip-preview", "--target-replace", urn)

    def ids(self) -> Mapping[str, str]:
        return {_label(each): each["id"] for each in self._resources()}

    def outputs(self, label: str) -> Mapping[str, Any]:
        (found,) = [each for each in self._resources() if _label(each) == label]
        kind = resource(found["type"].rpartition(":")[2])
        shown = {k: v for k, v in found["outputs"].items() if "ciphertext" not in repr(v)}
        if self.face is Face.DYNAMIC:
            return shown
        return to_declared(shown, kind.fields).values

    def at_rest(self) -> str:
        return (self._project.folder / "state/.pulumi/stacks/trial/test.json").read_text()

    def reach(self, endpoint: str, **variables: str) -> None:
        self.is_elsewhere = True
        self._project = dataclasses.replace(
            self._project, variables={"CLONEPOOL_ENDPOINT": endpoint, **variables}
        )

    def destroy(self) -> None:
        self._run("destroy", "--skip-preview")

    def _write(self, program: Program) -> None:
        self._project.write(_WRITERS[self.face](program))

    def _run(self, *words: str) -> None:
        done = self._project.run(*words, expect=None)
        if done.exit_code != 0:
            raise _refused(done.text)

    def _resources(self) -> Iterator[Mapping[str, Any]]:
        try:
            deployment = json.loads(self.at_rest())["checkpoint"]["latest"] or {}
        except FileNotFoundError:
            return
        for each in deployment.get("resources", []):
            if "clonepool:" in each["type"] and not each["type"].startswith("pulumi:providers"):
                yield each


def _label(step: Mapping[str, Any]) -> str:
    return str(step["urn"].rsplit("::", 1)[1])


def _refused(text: str) -> Refused:
    assert "Traceback" not in text, text
    problems = {snake(each["path"]): each["reason"] for each in _PROBLEM.finditer(text)}
    return Refused(plain(text), paths=problems)

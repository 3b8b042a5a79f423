"""The Terraform or OpenTofu command line, with a configuration in JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from terraform_clonepool.values import given
from tests.faces.background import CommandRunning, plain
from tests.faces.model import Face, Plan, Planned, Program, Refused
from tests.faces.programs import TERRAFORM_TYPES, terraform_program
from tests.faces.stack import CommandStack, Running
from tests.terraform.project import TerraformProject

_MAIN, _IMPORTS = "main.tf.json", "import.tf.json"


class TerraformStack(CommandStack):
    """One working directory; a case leaves it empty."""

    face = Face.TERRAFORM

    def __init__(self, project: TerraformProject) -> None:
        self._project = project

    def plan(self, program: Program) -> Plan:
        self._write(program)
        done = self._project.run("plan", "-json", expect=None)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.code != 0:
            raise _refused(done.stdout, said)
        changes = [each["change"] for each in said if each["type"] == "planned_change"]
        found = {
            each["resource"]["resource_name"]: Planned(action=each["action"]) for each in changes
        }
        unchanged = {each.label: Planned(action="none") for each in program}
        return {**unchanged, **found}

    def apply(self, program: Program) -> None:
        self._write(program)
        self._run("apply", "-auto-approve")

    def begin(self, program: Program) -> Running:
        self._write(program)
        return CommandRunning(
            self._project.argv("apply", "-auto-approve"),
            folder=self._project.folder,
            environment=self._project.environment(),
            presses=1,
        )

    def recover(self) -> None:
        # the lock is the process's own: it went with it
        return

    def refresh(self) -> None:
        self._run("apply", "-refresh-only", "-auto-approve")

    def bring_in(self, program: Program, ids: Mapping[str, str]) -> None:
        self._write(program)
        types = {each.label: TERRAFORM_TYPES[each.kind] for each in program}
        blocks = [{"to": f"{types[label]}.{label}", "id": found} for label, found in ids.items()]
        path = self._project.folder / _IMPORTS
        path.write_text(json.dumps({"import": blocks}))
        try:
            self._run("apply", "-auto-approve")
        finally:
            path.unlink()

    def forget(self) -> None:
        (self._project.folder / "terraform.tfstate").unlink()

    def replace_by_hand(self, program: Program, label: str) -> None:
        self._write(program)
        (address,) = [
            f"{TERRAFORM_TYPES[each.kind]}.{label}" for each in program if each.label == label
        ]
        self._run("apply", "-auto-approve", f"-replace={address}")

    def ids(self) -> Mapping[str, str]:
        return {label: values["id"] for label, values in self._resources()}

    def outputs(self, label: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = given(dict(self._resources())[label])
        return {**found, "server": found.get("server_name")}

    def at_rest(self) -> str:
        paths = (path for path in self._project.folder.glob("terraform.tfstate*"))
        return "".join(path.read_text() for path in paths)

    def reach(self, endpoint: str, **variables: str) -> None:
        self.is_elsewhere = True
        self._project = dataclasses.replace(
            self._project, variables={"CLONEPOOL_ENDPOINT": endpoint, **variables}
        )

    def destroy(self) -> None:
        self._run("destroy", "-auto-approve")

    def _write(self, program: Program) -> None:
        self._project.write(terraform_program(program), name=_MAIN)

    def _run(self, *words: str) -> None:
        done = self._project.run(*words, expect=None)
        if done.code != 0:
            raise _refused(f"{done.stdout}\n{done.stderr}", [])

    def _resources(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        path = self._project.folder / "terraform.tfstate"
        if not path.exists():
            return
        for each in json.loads(path.read_text())["resources"]:
            if each["type"].startswith("clonepool_"):
                yield each["name"], each["instances"][0]["attributes"]


def _refused(text: str, said: list[Mapping[str, Any]]) -> Refused:
    errors = [
        each["diagnostic"]
        for each in said
        if each["type"] == "diagnostic" and each["@level"] == "error"
    ]
    paths = {
        each["summary"].removeprefix("Invalid "): each["detail"]
        for each in errors
        if each["summary"].startswith("Invalid ")
    }
    told = "; ".join(f"{each['summary']}: {each['detail']}" for each in errors) or plain(text)
    assert "This is a defect" not in told, told
    return Refused(told, paths=paths)

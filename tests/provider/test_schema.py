"""schema.json: valid by Pulumi's own meta-schema, whole, and made from the declaration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from clonepool_resources.declaration import FUNCTIONS, RESOURCES
from clonepool_resources.types import Field, ObjectType, Resource
from pulumi_clonepool_plugin.schema import package_schema
from pulumi_clonepool_plugin.spelling import camel

ROOT = Path(__file__).resolve().parents[2]
METASCHEMA = ROOT / "tests/fixtures/pulumi/metaschema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "schema.json").read_text())
    return read


def test_the_committed_file_is_what_the_declaration_makes(schema: dict[str, Any]) -> None:
    assert package_schema() == schema
    command = [sys.executable, "tools/generate_schema.py", "--check"]
    assert 0 == subprocess.run(command, cwd=ROOT, check=False).returncode


def test_it_is_valid_by_pulumi_s_meta_schema(schema: dict[str, Any]) -> None:
    # JavaScript's and Go's spelling of named groups is not Python's
    rules = json.loads(METASCHEMA.read_text().replace("(?<", "(?P<"))
    Draft202012Validator.check_schema(rules)
    validator = Draft202012Validator(rules)

    assert [] == [error.message for error in validator.iter_errors(schema)]
    broken = {**schema, "resources": {"clonepool:MasterImage": {"properties": {"a": {"type": 1}}}}}
    assert not validator.is_valid(broken)


def test_every_reference_leads_to_a_type_and_every_type_is_used(schema: dict[str, Any]) -> None:
    used = set(re.findall(r'"#/types/([^"]+)"', json.dumps(schema)))

    assert set(schema["types"]) == used


def test_every_property_and_every_enumerated_value_is_described(schema: dict[str, Any]) -> None:
    for group in (*schema["resources"].values(), *schema["types"].values()):
        # the programs that a description shows come after its text
        assert group["description"].partition("\n\n{{% examples %}}")[0].endswith(".")
        for part in ("properties", "inputProperties"):
            for name, said in group.get(part, {}).items():
                assert said.get("description", "").endswith("."), name
        for value in group.get("enum", ()):
            assert value["description"]


@pytest.mark.parametrize("declared", RESOURCES, ids=lambda declared: declared.name)
def test_a_resource_has_the_declared_inputs_outputs_and_marks(
    schema: dict[str, Any], declared: Resource
) -> None:
    found = schema["resources"][f"clonepool:index:{declared.name}"]

    assert {camel(field.name) for field in declared.inputs} == set(found["inputProperties"])
    assert {camel(field.name) for field in declared.fields} == set(found["properties"])
    assert set(found["properties"]) == set(found["stateInputs"]["properties"])
    for field in declared.inputs:
        said = found["inputProperties"][camel(field.name)]
        assert field.replace == said.get("willReplaceOnChanges", False)
        assert field.secret == said.get("secret", False)
    # the plugin names what was left unnamed
    assert "name" not in found["requiredInputs"]


def _secrets(fields: tuple[Field, ...]) -> Iterator[str]:
    for field in fields:
        if field.secret:
            yield field.name
        if isinstance(field.type, ObjectType):
            yield from _secrets(field.type.fields)


def test_what_is_secret_is_marked(schema: dict[str, Any]) -> None:
    attachment = schema["resources"]["clonepool:index:ServerStorageAttachment"]

    assert ["secret", "chap_secret"] == [
        name for declared in RESOURCES for name in _secrets(declared.fields)
    ]
    assert attachment["properties"]["chapSecret"]["secret"]
    assert schema["types"]["clonepool:index:Chap"]["properties"]["secret"]["secret"]
    assert schema["config"]["variables"]["token"]["secret"]


def test_each_function_takes_a_name_and_gives_the_declared_fields(schema: dict[str, Any]) -> None:
    for function in FUNCTIONS:
        found = schema["functions"][f"clonepool:index:{camel(function.name)}"]

        assert ["name"] == found["inputs"]["required"]
        assert {camel(field.name) for field in function.outputs} == set(
            found["outputs"]["properties"]
        )


def test_the_generated_python_sdk_stands_apart_from_the_dynamic_package(
    schema: dict[str, Any],
) -> None:
    assert "clonepool_sdk" == schema["language"]["python"]["packageName"]


@pytest.mark.pulumi
def test_the_command_line_binds_it(pulumi_bin: Path, tmp_path: Path) -> None:
    """The binder checks what the meta-schema can't: defaults against types, names, references."""
    command = [str(pulumi_bin / "pulumi"), "package", "get-schema", str(ROOT / "schema.json")]
    environment = {"PATH": str(pulumi_bin), "PULUMI_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        command,
        env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "clonepool:index:ServerStorageAttachment" in json.loads(done.stdout)["resources"]

"""The typed classes say what the declaration says."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from importlib import resources
from typing import Any

import pulumi
import pytest

import pulumi_clonepool
from clonepool_resources.declaration import FUNCTIONS, RESOURCES
from clonepool_resources.types import EnumType, Field, FieldType, ListOf, ObjectType, Resource
from pulumi_clonepool import args, outputs
from pulumi_clonepool.resource import _options

CLASSES = {declared.name: getattr(pulumi_clonepool, declared.name) for declared in RESOURCES}


def _objects(fields: tuple[Field, ...]) -> dict[str, ObjectType]:
    found: dict[str, ObjectType] = {}
    for field in fields:
        inner: FieldType = field.type
        while isinstance(inner, ListOf):
            inner = inner.item
        if isinstance(inner, ObjectType):
            found[inner.name] = inner
            found.update(_objects(inner.fields))
    return found


def _literal_words(hint: Any) -> set[str]:
    """The words of the Literal somewhere inside ``NotRequired[Input[Literal[...]]]``."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set().union(*map(_literal_words, typing.get_args(hint)), set())


INPUT_OBJECTS = {n: o for declared in RESOURCES for n, o in _objects(declared.inputs).items()}
OUTPUT_OBJECTS = {n: o for declared in RESOURCES for n, o in _objects(declared.outputs).items()}


@pytest.mark.parametrize("declared", RESOURCES, ids=lambda declared: declared.name)
def test_a_class_takes_exactly_the_declared_inputs(declared: Resource) -> None:
    parameters = inspect.signature(CLASSES[declared.name].__init__).parameters
    taken = [name for name in parameters if name not in ("self", "resource_name", "opts")]

    assert {field.name for field in declared.inputs} == set(taken)
    needed = {name for name in taken if parameters[name].default is inspect.Parameter.empty}
    assert {field.name for field in declared.inputs if field.required and not field.derived} == (
        needed
    )


@pytest.mark.parametrize("declared", RESOURCES, ids=lambda declared: declared.name)
def test_a_class_has_every_output_as_a_typed_attribute(declared: Resource) -> None:
    hints = CLASSES[declared.name].__annotations__

    assert {field.name for field in declared.outputs} <= set(hints)


@pytest.mark.parametrize("declared", RESOURCES, ids=lambda declared: declared.name)
def test_a_class_s_docstring_names_what_it_takes(declared: Resource) -> None:
    text = CLASSES[declared.name].__doc__ or ""

    names = {field.name for field in declared.inputs} - {"name", "wait_for_ready"}
    assert [] == sorted(name for name in names if f"``{name}`" not in text)


@pytest.mark.parametrize("name", sorted(INPUT_OBJECTS))
def test_an_argument_s_shape_is_the_declared_one(name: str) -> None:
    shape = getattr(args, f"{name}Args")
    declared = INPUT_OBJECTS[name]
    hints = shape.__annotations__

    assert {field.name for field in declared.fields} == set(hints)
    assert {field.name for field in declared.fields if field.required} == shape.__required_keys__
    for field in declared.fields:
        if isinstance(field.type, EnumType):
            assert set(field.type.values) == _literal_words(hints[field.name])


@pytest.mark.parametrize("name", sorted(OUTPUT_OBJECTS))
def test_an_output_s_shape_is_the_declared_one(name: str) -> None:
    shape = getattr(outputs, name)

    assert {field.name for field in OUTPUT_OBJECTS[name].fields} == set(shape.__annotations__)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_function_gives_the_declared_fields(function: Any) -> None:
    hints = typing.get_type_hints(getattr(pulumi_clonepool, function.name))

    given = {field.name for field in dataclasses.fields(hints["return"])}
    assert {field.name for field in function.outputs} == given


def test_the_packages_say_that_they_are_typed_and_have_no_plugin() -> None:
    """Without the plugin file Pulumi would look for a plugin to download."""
    package = resources.files("pulumi_clonepool")

    assert {"resource": False} == json.loads(package.joinpath("pulumi-plugin.json").read_text())
    for name in ("pulumi_clonepool", "clonepool_resources", "clonepool"):
        assert resources.files(name).joinpath("py.typed").is_file()


class Recorded(pulumi.runtime.Mocks):
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[Any, Any]]:
        self.inputs[args.name] = args.inputs
        return f"{args.name}-id", args.inputs

    def call(
        self, args: pulumi.runtime.MockCallArgs
    ) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        return {}, None


@pytest.fixture
def recorded() -> Recorded:
    mocks = Recorded()
    pulumi.runtime.set_mocks(mocks, project="trial", stack="test", preview=False)
    return mocks


def test_a_resource_is_taken_wherever_a_name_is(recorded: Recorded) -> None:
    @pulumi.runtime.test  # type: ignore[misc, untyped-decorator, unused-ignore]
    def program() -> None:
        image = pulumi_clonepool.MasterImage("web", writable={"source": "/images/web.raw"})
        pool = pulumi_clonepool.ReplicaPool("Web Pool", master_image=image)
        server = pulumi_clonepool.Server("web1", name="web1")
        pulumi_clonepool.ServerStorageAttachment("a1", pool=pool, server=server)

    program()

    pool_name = recorded.inputs["Web Pool"]["name"]
    assert "trial-test-web" == recorded.inputs["web"]["name"]
    assert "trial-test-web" == recorded.inputs["Web Pool"]["master_image"]
    assert (pool_name, "web1") == (
        recorded.inputs["a1"]["pool"],
        recorded.inputs["a1"]["server"],
    )
    # what a name may not hold becomes a dash, and a digest keeps such names apart
    assert pool_name.startswith("trial-test-web-pool-")
    assert (
        "trial/test/clonepool:ReplicaPool/Web Pool"
        == (recorded.inputs["Web Pool"]["__request_token"])
    )


def test_two_components_may_each_hold_a_resource_of_one_name(recorded: Recorded) -> None:
    class Shop(pulumi.ComponentResource):
        def __init__(self, name: str, kind: str) -> None:
            super().__init__(kind, name)
            opts = pulumi.ResourceOptions(parent=self)
            pulumi_clonepool.Server(f"{name}-db", opts=opts)

    @pulumi.runtime.test  # type: ignore[misc, untyped-decorator, unused-ignore]
    def program() -> None:
        Shop("a", "shop:Shop")
        Shop("b", "shop:Store")

    program()

    assert (
        "trial/test/shop:Shop$clonepool:Server/a-db" == (recorded.inputs["a-db"]["__request_token"])
    )


def test_a_secret_that_is_given_becomes_a_pulumi_secret(recorded: Recorded) -> None:
    seen: list[bool] = []

    @pulumi.runtime.test  # type: ignore[misc, untyped-decorator, unused-ignore]
    def program() -> Any:
        attachment = pulumi_clonepool.ServerStorageAttachment(
            "a1",
            pool="web",
            server="web1",
            chap={"mode": "given", "username": "web1", "secret": "open sesame!"},
        )

        async def look() -> None:
            chap: Any = attachment.chap  # type: ignore[attr-defined]
            seen.append(await chap.is_secret())

        return pulumi.Output.from_input(look())

    program()

    assert [True] == seen


def test_ours_is_the_last_word_on_delete_before_replace() -> None:
    mine = pulumi.ResourceOptions(delete_before_replace=False, protect=True)
    merged = _options(RESOURCES[3], mine)

    assert (True, True, ["chap_secret"]) == (
        merged.delete_before_replace,
        merged.protect,
        merged.additional_secret_outputs,
    )

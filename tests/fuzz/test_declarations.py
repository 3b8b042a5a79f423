"""Any value of any declared field, through each face's check: a failure in words, or good for all.

What check lets through the engine takes; what it refuses it names, and never a secret.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import FieldViolation
from clonepool.service import validate
from clonepool_resources import convert
from clonepool_resources.check import check
from clonepool_resources.declaration import RESOURCES
from clonepool_resources.types import Resource
from pulumi_clonepool.providers import (
    MasterImageProvider,
    ReplicaPoolProvider,
    ServerProvider,
    ServerStorageAttachmentProvider,
)
from pulumi_clonepool_plugin.checking import check_inputs
from pulumi_clonepool_plugin.kinds import KINDS
from pulumi_clonepool_plugin.properties import to_message
from pulumi_clonepool_plugin.spelling import camel
from terraform_clonepool.validation import find_violations
from tests.fuzz.conftest import COUNT, SEED
from tests.fuzz.declared import SECRET_NUMBER, DeclaredInputs
from tests.fuzz.messages import SECRET

SLOWEST_S = 2.0
DYNAMIC = (
    MasterImageProvider,
    ReplicaPoolProvider,
    ServerProvider,
    ServerStorageAttachmentProvider,
)
REQUESTS: dict[str, Any] = {
    "MasterImage": (pb.CreateImageRequest, convert.image_spec, validate.create_image),
    "ReplicaPool": (pb.CreatePoolRequest, convert.pool_spec, validate.create_pool),
    "Server": (pb.CreateServerRequest, convert.server_spec, validate.create_server),
    "ServerStorageAttachment": (
        pb.CreateAttachmentRequest,
        convert.attachment_spec,
        validate.create_attachment,
    ),
}


def check_failures(failures: Iterable[FieldViolation], inputs: Mapping[str, Any]) -> None:
    for failure in failures:
        assert failure.field, inputs
        assert 0 < len(failure.description) < 2000, (failure, inputs)
        said = f"{failure.field} {failure.description}"
        assert str(SECRET_NUMBER) not in said, (failure, inputs)
        # a key of a map that is given in a secret's place is no value
        assert SECRET not in failure.description, (failure, inputs)


@pytest.fixture(params=RESOURCES, ids=lambda resource: resource.name)
def resource(request: pytest.FixtureRequest) -> Resource:
    found: Resource = request.param
    return found


def cases(face: str, resource: Resource, *, typed: bool = False) -> Iterable[dict[str, Any]]:
    """As many inputs as requests, a resource and face at a time."""
    for number in range(max(COUNT // 4, 1)):
        chance = random.Random(f"{SEED}/{face}/{resource.name}/{number}")  # noqa: S311 - repeatable
        yield DeclaredInputs(chance, typed=typed).inputs(resource)


def test_what_check_lets_through_the_engine_takes(resource: Resource) -> None:
    passed = 0
    for inputs in cases("check", resource):
        began = time.monotonic()
        checked = check(resource, inputs, is_unknown=lambda _value: False)
        assert time.monotonic() - began < SLOWEST_S, inputs
        check_failures(checked.failures, inputs)
        if not checked.failures:
            make, to_spec, validate_it = REQUESTS[resource.name]
            validate_it(make(spec=to_spec(checked.inputs), request_token="t"))
            passed += 1
    assert passed, "nothing good was among them"


def test_the_dynamic_classes_answer_in_words(resource: Resource) -> None:
    (provider,) = [each for each in DYNAMIC if each().lifecycle_class.resource is resource]
    for inputs in cases("dynamic", resource):
        result = provider().check({}, inputs)
        failures = [
            FieldViolation(field=each.property, description=each.reason) for each in result.failures
        ]
        check_failures(failures, inputs)


def test_the_plugin_answers_in_words(resource: Resource) -> None:
    (kind,) = [kind for kind in KINDS.values() if kind.resource is resource]
    for inputs in cases("plugin", resource):
        news = {camel(name): value for name, value in inputs.items()}
        request = provider_pb2.CheckRequest(news=to_message(news))
        _inputs, failures = check_inputs(kind, request)
        check_failures(failures, inputs)


def test_the_terraform_provider_answers_in_words(resource: Resource) -> None:
    for inputs in cases("terraform", resource, typed=True):
        check_failures(find_violations(resource, inputs), inputs)

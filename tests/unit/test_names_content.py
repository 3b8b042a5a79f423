"""Derived names are never reused for other bytes; declarations survive being kept as JSON."""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.backends.names import check_object_name
from clonepool.domain import names
from clonepool.domain.content import (
    attachment_document,
    canonical,
    digest,
    image_content,
    parse_attachment_document,
    parse_image_content,
)
from clonepool.domain.model import (
    AttachmentSpec,
    ChapSpec,
    ImageSpec,
    PortionSpec,
    Preconfigure,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import ChapMode, PortionRole, SystemUserKind

ids = st.uuids(version=4).map(str)
generations = st.integers(1, 10**6)
USER = SystemUser(name="acme", kind=SystemUserKind.APPLICATION)
SECRET = "opensesame42"


@given(volume_id=ids, generation=generations)
def test_object_names_are_what_every_backend_takes(volume_id: str, generation: int) -> None:
    check_object_name(names.volume_object(volume_id=volume_id, generation=generation))
    for role in PortionRole:
        check_object_name(names.portion_object(version_id=volume_id, role=role))


@given(volume_id=ids, generation=generations)
def test_a_new_generation_is_another_object_and_another_disk(
    volume_id: str, generation: int
) -> None:
    objects = [names.volume_object(volume_id=volume_id, generation=generation + n) for n in (0, 1)]
    serials = [names.serial(object_id=volume_id, generation=generation + n) for n in (0, 1)]
    assert objects[0] != objects[1]
    assert serials[0] != serials[1]
    assert names.wwn(serial_number=serials[0]) != names.wwn(serial_number=serials[1])


@given(volume_id=ids, generation=generations)
def test_the_serial_holds_the_generation_and_fits_scsi(volume_id: str, generation: int) -> None:
    """36 characters are what tgtd keeps of a serial."""
    serial = names.serial(object_id=volume_id, generation=generation)
    assert serial.endswith(f"g{generation}")
    assert len(serial) <= 36


def test_the_world_wide_name_is_derived_from_the_serial() -> None:
    """Registered extended: NAA type 6, 32 hexadecimal digits."""
    wwn = names.wwn(serial_number="abc")
    assert re.fullmatch(r"naa\.6[0-9a-f]{31}", wwn)
    assert wwn == names.wwn(serial_number="abc")


def test_the_two_portions_of_a_version_are_two_objects() -> None:
    version_id = str(uuid.uuid4())
    made = {names.portion_object(version_id=version_id, role=role) for role in PortionRole}
    assert 2 == len(made)


def test_equal_values_have_equal_digests_whatever_their_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


text = st.text(max_size=12)
portions = st.none() | st.builds(
    PortionSpec, source=text, format=text, size_bytes=st.integers(0, 2**62), sha256=text
)
images = st.builds(
    ImageSpec,
    name=text,
    read_only=portions,
    writable=portions,
    preconfigure=st.lists(
        st.builds(
            Preconfigure,
            portion=st.sampled_from(PortionRole),
            path=text,
            content=st.none() | text,
            source=st.none() | text,
            mode=st.integers(0, 0o7777),
        ),
        max_size=3,
    ).map(tuple),
)


@given(spec=images)
def test_an_images_content_survives_being_kept(spec: ImageSpec) -> None:
    kept = parse_image_content(canonical(image_content(spec)))
    assert spec == replace(ImageSpec(name=spec.name), **kept)


def test_name_and_labels_are_no_content() -> None:
    """They change in place: no new version."""
    spec = ImageSpec(name="web", writable=PortionSpec(source="/a"))
    other = replace(spec, name="api", labels={"a": "b"})
    assert image_content(spec) == image_content(other)


@pytest.mark.parametrize(
    "spec",
    [
        AttachmentSpec(name="a", pool="web", server="s1"),
        AttachmentSpec(name="a", pool="web", system_user=USER, server_selector={"rack": "r1"}),
        AttachmentSpec(
            name="a",
            pool="web",
            inline_server=ServerSpec(name="s", initiator="iqn.2026-01.x:s", labels={"a": "b"}),
            chap=ChapSpec(mode=ChapMode.NONE),
            force_detach=True,
        ),
        AttachmentSpec(
            name="a", pool="web", server="s", chap=ChapSpec(mode=ChapMode.GIVEN, username="u")
        ),
    ],
)
def test_an_attachments_declaration_survives_being_kept(spec: AttachmentSpec) -> None:
    assert spec == parse_attachment_document(canonical(attachment_document(spec)))


def test_the_kept_declaration_has_no_secret() -> None:
    chap = ChapSpec(mode=ChapMode.GIVEN, username="u", secret=SECRET)
    spec = AttachmentSpec(name="a", pool="web", server="s", chap=chap)
    assert SECRET not in canonical(attachment_document(spec))


@pytest.mark.parametrize("user", [None, SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)])
@pytest.mark.parametrize("inline", [None, ServerSpec(name="web1", labels={"rack": "7"})])
def test_an_attachment_s_document_has_every_field_but_the_secret(
    user: SystemUser | None, inline: ServerSpec | None
) -> None:
    """It is written by hand: a field that is added later must not be forgotten."""
    spec = AttachmentSpec(
        name="a",
        pool="web",
        system_user=user,
        inline_server=inline,
        chap=ChapSpec(secret=SECRET),
        resume_released=True,
    )
    expected = asdict(spec)
    del expected["chap"]["secret"]
    assert expected == attachment_document(spec)
    assert SECRET not in repr(spec)

"""What is looked up by an id and is not there: the error names the command that shows what is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clonepool.domain.model import AttachmentSpec, ImageSpec, PoolSpec, Ref, ServerSpec
from clonepool.domain.states import AfterScrub
from clonepool.engine import Engine
from clonepool.errors import NotFound
from clonepool.testing.engines import EngineRig

ID = "0b5f2a3c-1111-4222-8333-444455556666"
COMMANDS = Path(__file__).parents[2] / "docs/cli.md"
_REF = Ref(id=ID)
_ATTACHMENT = AttachmentSpec(name="a", pool="web", server="web1")
_LOOKUPS: dict[str, Callable[[Engine], Any]] = {
    "image": lambda engine: engine.images.get(ref=_REF),
    "image update": lambda engine: engine.images.update(image_id=ID, spec=ImageSpec(name="web")),
    "pool": lambda engine: engine.pools.get(ref=_REF),
    "pool update": lambda engine: engine.pools.update(
        pool_id=ID, spec=PoolSpec(name="web", master_image="web")
    ),
    "server": lambda engine: engine.servers.get(ref=_REF),
    "server update": lambda engine: engine.servers.update(
        server_id=ID, spec=ServerSpec(name="web1"), force=False
    ),
    "attachment": lambda engine: engine.attachments.get(ref=_REF),
    "attachment update": lambda engine: engine.attachments.update(
        attachment_id=ID, spec=_ATTACHMENT
    ),
    "undo": lambda engine: engine.attachments.undo_release(attachment=ID),
    "undo by volume": lambda engine: engine.attachments.undo_release(volume_id=ID),
    "volume": lambda engine: engine.volumes.get(ref=_REF),
    "volume retry": lambda engine: engine.scrub.start_one(volume_id=ID, after=AfterScrub.RECYCLE),
    "run": lambda engine: engine.scrub.get_run(ref=_REF),
    "operation": lambda engine: engine.operations.get(ref=_REF),
    "hold": lambda engine: engine.holds.get(ticket=ID),
}


@pytest.mark.parametrize("what", _LOOKUPS)
def test_an_id_that_is_not_there_is_answered_with_the_way_out(web: EngineRig, what: str) -> None:
    with pytest.raises(NotFound) as refused:
        _LOOKUPS[what](web.engine)
    text = str(refused.value)
    assert ID in text
    commands = re.findall(r"`(clonepool \w+ \w+)", text)
    assert commands
    known = COMMANDS.read_text()
    assert [] == [command for command in commands if f"### {command}\n" not in known]

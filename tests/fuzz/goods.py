"""One good request of each RPC, to be made bad in one place."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from clonepool.api.v1 import engine_pb2 as pb
from tests.fuzz.messages import SECRET
from tests.fuzz.target import Target

ACME = pb.SystemUser(name="acme", kind=pb.SYSTEM_USER_KIND_CUSTOMER)


def make_one_of_each(target: Target, *, source: str) -> Mapping[str, Message]:
    """Make an image, a pool, a server and an attachment; returns good requests by RPC."""
    image = pb.ImageSpec(
        name="web",
        system_user=ACME,
        writable=pb.PortionSpec(source=source, format="raw"),
        labels={"tier": "front"},
    )
    pool = pb.PoolSpec(name="web", master_image="web", fabric="iscsi", min_ready=1)
    server = pb.ServerSpec(name="web-1", initiator="iqn.2026-01.test:web-1")
    chap = pb.ChapSpec(mode="given", username="acme", secret=SECRET)
    attachment = pb.AttachmentSpec(name="web-1", pool="web", server="web-1", chap=chap)
    creates: dict[str, Message] = {
        "CreateImage": pb.CreateImageRequest(spec=image, request_token="t"),
        "CreatePool": pb.CreatePoolRequest(spec=pool, request_token="t"),
        "CreateServer": pb.CreateServerRequest(spec=server, request_token="t"),
        "CreateAttachment": pb.CreateAttachmentRequest(spec=attachment, request_token="t"),
    }
    ids = {name.removeprefix("Create"): target.call(name, creates[name]).id for name in creates}
    change = pb.PlannedChange(attach=attachment)
    return {
        **creates,
        "UpdateImage": pb.UpdateImageRequest(id=ids["Image"], spec=image),
        "UpdatePool": pb.UpdatePoolRequest(id=ids["Pool"], spec=pool),
        "UpdateServer": pb.UpdateServerRequest(id=ids["Server"], spec=server, force=True),
        "UpdateAttachment": pb.UpdateAttachmentRequest(id=ids["Attachment"], spec=attachment),
        "Forecast": pb.ForecastRequest(changes=[change]),
    }

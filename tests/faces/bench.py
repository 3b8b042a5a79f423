"""What a case is played on: an engine, the storage of its operators, and users' stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from tests.faces.model import Declared, Face, Plan, Program, Refused
from tests.faces.stack import CommandStack, Stack, attempt
from tests.support.site import Master, Site

ATTACHMENT = "ServerStorageAttachment"


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What the operators of the engine keep ready for all cases: two masters and their source."""

    own: Master  # acme's
    shared: Master  # anybody's
    source: Path


@dataclass(kw_only=True)
class Bench:
    """One case on one face. ``open_stack`` gives a user of the face a stack."""

    face: Face
    site: Site
    stock: Stock
    prefix: str
    open_stack: Callable[[str], Stack]
    open_fragile_site: Callable[[], Site]
    cleanup: ExitStack = field(default_factory=ExitStack)
    _stacks: list[Stack] = field(default_factory=list)

    @property
    def stack(self) -> Stack:
        """The first user's stack."""
        return self._stacks[0] if self._stacks else self.another_stack()

    @property
    def command(self) -> CommandStack:
        """The first user's stack, with what only a command line can do."""
        stack = self.stack
        assert isinstance(stack, CommandStack), "drive this case by the command lines"
        return stack

    def another_stack(self) -> Stack:
        """The stack of one more user of the same face."""
        stack = self.open_stack(f"{self.prefix}-{len(self._stacks)}")
        self._stacks.append(stack)
        return stack

    def close(self) -> None:
        """Take down what the stacks hold, and what the case put up beside them."""
        with self.cleanup:
            for stack in self._stacks:
                if stack.ids():
                    self._come_back(stack)
                    stack.destroy()

    def hurry(self) -> None:
        """Half a second for each creation, where the resource cannot say it itself."""
        if self.face is Face.DYNAMIC:
            self.stack.reach(self.site.engine.endpoint, CLONEPOOL_CREATE_TIMEOUT="500ms")

    def take_time(self) -> None:
        """The usual limits again."""
        self._come_back(self.stack)

    def _come_back(self, stack: Stack) -> None:
        if stack.is_elsewhere:
            stack.reach(self.site.engine.endpoint)

    # what users declare

    def name(self, word: str) -> str:
        """A name that no other case has."""
        return f"{self.prefix}-{word}"

    def image(self, **inputs: Any) -> Declared:
        """A master image of acme's."""
        own = {"name": "acme", "kind": "customer"}
        declared = {
            "name": self.name("image"),
            "system_user": own,
            "writable": {"source": str(self.stock.source)},
        }
        return Declared(kind="MasterImage", label="image", inputs=_with(declared, inputs))

    def pool(self, **inputs: Any) -> Declared:
        """A pool of acme's image on the local fabric, empty unless it is said otherwise."""
        declared = {
            "name": self.name("pool"),
            "master_image": self.stock.own.name,
            "fabric": "local",
            "min_ready": 0,
        }
        return Declared(kind="ReplicaPool", label="pool", inputs=_with(declared, inputs))

    def server(self, label: str = "server", **inputs: Any) -> Declared:
        """A server of the local fabric."""
        declared = {"name": self.name(label)}
        return Declared(kind="Server", label=label, inputs=_with(declared, inputs))

    def attachment(self, label: str = "storage", **inputs: Any) -> Declared:
        """An attachment of a server in line, unless it is named in another way."""
        declared: dict[str, Any] = {"name": self.name(label)}
        if "server" not in inputs and "server_selector" not in inputs:
            declared["inline_server"] = {"name": self.name(f"{label}-server")}
        return Declared(kind=ATTACHMENT, label=label, inputs=_with(declared, inputs))

    def host(self, word: str = "host") -> dict[str, Any]:
        """A server in line that logs in over iSCSI."""
        name = self.name(word)
        return {"name": name, "initiator": f"iqn.2026-01.test.clonepool:{name}"}

    def versioned(self, chap: Mapping[str, Any], version: int) -> dict[str, Any]:
        """A given account; Terraform is told by a number when the secret is another one."""
        number = {"secret_version": version} if self.face is Face.TERRAFORM else {}
        return {**chap, **number}

    # what operators do beside them

    def stocked_pool(self, *, shared: bool = False, ready: int = 1, **spec: Any) -> str:
        """A pool that operators made and filled; it goes with the case."""
        master = self.stock.shared if shared else self.stock.own
        name = self.site.pool(master, min_ready=ready, **{"fabric": "local", **spec})
        self.cleanup.callback(self.site.delete_pool, name)
        return name

    def made_server(self, **spec: Any) -> pb.Server:
        """A server that somebody else made; it goes with the case."""
        name = spec.pop("name", "") or self.name("theirs")
        request = pb.CreateServerRequest(
            spec=pb.ServerSpec(name=name, **spec), request_token="theirs"
        )
        made: pb.Server = self.site.call("CreateServer", request)
        self.cleanup.callback(self.site.call, "DeleteServer", pb.DeleteRequest(id=made.id))
        return made

    def made_attachment(self, pool: str, **spec: Any) -> pb.Attachment:
        """An attachment that somebody else made; it goes with the case."""
        name = spec.pop("name", "") or self.name("held")
        wanted = pb.AttachmentSpec(name=name, pool=pool, **spec)
        if wanted.WhichOneof("server_ref") is None:
            wanted.inline_server.name = f"{name}-server"
        request = pb.CreateAttachmentRequest(spec=wanted, request_token=name)
        made: pb.Attachment = self.site.call("CreateAttachment", request)
        self.cleanup.callback(self.site.release, made)
        return made

    def delete(self, noun: str, object_id: str) -> None:
        """Delete one object behind everybody's back."""
        self.site.call(f"Delete{noun}", pb.DeleteRequest(id=object_id))

    # what is seen

    def spec(self, noun: str, name: str) -> Any:
        """What the engine was told of one object."""
        if noun == "Attachment":
            return self.site.call("GetAttachment", pb.GetAttachmentRequest(name=name)).spec
        return self.site.call(f"Get{noun}", pb.GetRequest(name=name)).spec

    def account(self, label: str) -> pb.Attachment:
        """One attachment of a stack's, with its secret."""
        request = pb.GetAttachmentRequest(name=self.name(label), include_secret=True)
        found: pb.Attachment = self.site.call("GetAttachment", request)
        return found

    def is_there(self, noun: str, name: str) -> bool:
        """Whether the engine has a live one of this name."""
        plural = f"List{noun}s"
        answer = self.site.call(plural, pb.ListRequest(name_prefix=name))
        found = getattr(answer, f"{noun.lower()}s")
        return any(each.spec.name == name for each in found)

    def ids_of_images(self, name: str) -> Sequence[str]:
        """The live images of this name: one, if all is well."""
        found = self.site.call("ListImages", pb.ListRequest(name_prefix=name)).images
        return [each.id for each in found if each.spec.name == name]

    def attached(self, pool: str) -> Mapping[str, str]:
        """The pool's attachments that have storage, each with its volume, by label."""
        found = self.site.call("ListAttachments", pb.ListRequest(pool=pool)).attachments
        return {
            each.spec.name.removeprefix(f"{self.prefix}-"): each.volume_id
            for each in found
            if each.state == "attached"
        }

    def events(self, kind: str) -> Sequence[str]:
        """What the engine says happened to the case's own things of a kind, oldest first."""
        request = pb.ListEventsRequest(subject_prefix=f"{kind}/{self.prefix}-")
        return [each.reason for each in self.site.call("ListEvents", request).events]

    def volume_states(self, pool: str) -> Sequence[str]:
        """The states of the pool's volumes, those that are being made left out."""
        moving = ("planned", "cloning", "ready")
        found = [each.state for each in self.site.volumes(pool)]
        return sorted(state for state in found if state not in moving)


def actions(plan: Plan) -> dict[str, str]:
    """What a plan does, by label; what stays as it is is left out."""
    return {label: each.action for label, each in plan.items() if each.action != "none"}


def refusal(work: Callable[[], object]) -> Refused:
    """What the user is told; fails where nothing is refused."""
    refused = attempt(work)
    assert refused is not None, "it was not refused"
    return refused


def plan_or_problems(stack: Stack, program: Program) -> dict[str, Any]:
    """What a plan does, and the inputs that it refuses: one of the two is empty."""
    try:
        return {"plan": actions(stack.plan(program)), "refused": []}
    except Refused as refused:
        return {"plan": {}, "refused": sorted(refused.paths)}


def problems(stack: Stack, program: Program) -> list[str]:
    """The inputs that a plan refuses."""
    return sorted(refusal(lambda: stack.plan(program)).paths)


def _with(inputs: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**inputs, **more}.items() if value is not None}

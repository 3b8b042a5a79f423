"""Holding what a plan needs: one ticket for all of its pools, and the plan forecast by it."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import words
from clonepool.errors import ClonepoolError, InvalidArgument, NotFound, Unavailable


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be held for a plan: for ``duration_s`` (0: nothing), or a ticket that is there."""

    duration_s: float = 0.0
    owner: str = ""
    ticket: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A forecast, the ticket that it counts on (None: none), and what to say about it."""

    forecast: pb.ForecastResponse
    hold: pb.Hold | None = None
    notes: list[str] = field(default_factory=list)


def ask(client: EngineClient, request: pb.ForecastRequest, asked: Asked) -> Answer:
    """Forecast, and hold what is warm. A hold that is refused is said, and is no error.

    Raises what the Forecast RPC raises.
    """
    request.hold = asked.ticket
    answer = client.call("Forecast", request)
    if asked.ticket:
        return _by_ticket(client, answer, asked.ticket)
    if not asked.duration_s:
        return Answer(forecast=answer)
    return _held(client, request, answer, asked)


def _by_ticket(client: EngineClient, answer: Any, ticket: str) -> Answer:
    try:
        hold = client.call("GetHold", pb.GetRequest(id=ticket))
    except (NotFound, Unavailable) as error:
        return Answer(forecast=answer, notes=[f"nothing is held for this plan: {_line(error)}"])
    return Answer(forecast=answer, hold=hold, notes=_no_use(answer, hold))


def _no_use(answer: pb.ForecastResponse, hold: pb.Hold) -> list[str]:
    """Why the plan takes nothing of what the ticket holds; nothing to say where it does."""
    if any(each.held for each in answer.attachments):
        return []
    said = f"ticket {hold.id} is no use to this plan"
    left = {each.pool: each.remaining for each in hold.pools if each.remaining}
    if not left:
        return [f"{said}: all that it held is taken; leave it out, or hold anew by --hold"]
    stock = ", ".join(f"{count} of pool {pool}" for pool, count in sorted(left.items()))
    if not left.keys() & {each.pool for each in answer.attachments}:
        return [f"{said}: it holds {stock}, and no attachment of the plan is of such a pool"]
    return [f"{said}: it holds {stock}, and no attachment of the plan comes to take that"]


def _held(client: EngineClient, request: pb.ForecastRequest, answer: Any, asked: Asked) -> Answer:
    needed = _needed(answer)
    if not needed:
        return Answer(forecast=answer, notes=["nothing is held: no attachment finds stock to hold"])
    wanted = pb.CreateHoldRequest(
        pools=[pb.HeldStock(pool=pool, count=count) for pool, count in sorted(needed.items())],
        duration_s=asked.duration_s,
        owner=asked.owner,
        request_token=f"clonepool-cli/forecast/{uuid.uuid4()}",
        partial=True,
    )
    try:
        hold = client.call("CreateHold", wanted)
    except InvalidArgument as error:
        told = words.by_flags(error, {"duration_s": "--hold", "owner": "--owner"})
        return Answer(forecast=answer, notes=[f"nothing is held: {_line(told)}"])
    except ClonepoolError as error:
        return Answer(forecast=answer, notes=[f"nothing is held: {_line(error)}"])
    notes = [f"nothing is held of pool {each.pool}: {each.text}" for each in hold.refused]
    again = _again(client, request, hold)
    if again is None:
        text = f"ticket {hold.id} is made; the engine went away before a forecast with it"
        return Answer(forecast=answer, hold=hold, notes=[*notes, text])
    return Answer(forecast=again, hold=hold, notes=[*notes, *_no_use(again, hold)])


def _needed(answer: pb.ForecastResponse) -> Counter[str]:
    """What is warm, by pool; a pool that the plan makes has nothing to hold yet."""
    made = {pool.name for pool in answer.pools if pool.created}
    return Counter(
        each.pool for each in answer.attachments if each.outcome == "warm" and each.pool not in made
    )


def _again(
    client: EngineClient, request: pb.ForecastRequest, hold: pb.Hold
) -> pb.ForecastResponse | None:
    """The forecast with the ticket; None where the engine went away in between."""
    request.hold = hold.id
    try:
        answer: pb.ForecastResponse = client.call("Forecast", request)
    except ClonepoolError:
        return None
    return answer


def _line(error: ClonepoolError) -> str:
    return " ".join(str(error).split())

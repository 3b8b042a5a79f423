"""`clonepool hold`: keep ready replicas for a ticket, and give them back."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

from cyclopts import Parameter

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.counts import Count
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, filtered
from clonepool.errors import InvalidArgument, NotFound
from clonepool.units import parse_duration

_FLAGS: Final = {
    "pools[0].pool": "--pool",
    "pools[0].count": "--count",
    "duration_s": "--for",
    "owner": "--owner",
}


def create_hold(
    *,
    pool: str,
    count: Count = 1,
    for_: Annotated[str, Parameter(name="--for")] = "30m",
    owner: str = "",
    json: bool = False,
) -> None:
    """Hold ready replicas of a pool for a ticket, all of them or none.

    Whoever attaches by the ticket gets them (CLONEPOOL_HOLD=TICKET in the environment of
    `pulumi up` and `terraform apply`, `clonepool attach --hold`), nobody else does. Each run
    makes a ticket of its own.

    Parameters
    ----------
    pool
        The pool's name.
    count
        How many (default 1).
    for_
        For how long (default 30m); then what is left of it is anybody's again.
    owner
        Who it is for, to read in `hold list`.
    json
        Print one JSON document, Hold.

    """
    request = pb.CreateHoldRequest(
        pools=[pb.HeldStock(pool=pool, count=count)],
        duration_s=parse_duration(for_, field="--for"),
        owner=owner,
        request_token=f"clonepool-cli/hold/{uuid.uuid4()}",
    )
    with connect() as client:
        try:
            made = client.call("CreateHold", request)
        except InvalidArgument as error:
            raise words.by_flags(error, _FLAGS) from None
    if json:
        output.print_json(document(made))
        return
    _print_hold(made)
    print(f"\nuse it: CLONEPOOL_HOLD={made.id}")


def list_holds(*, pool: str = "", json: bool = False) -> None:
    """List the tickets whose time is not over, oldest first.

    Parameters
    ----------
    pool
        Only those that hold some of this pool.
    json
        Print a JSON list of Hold.

    """
    with connect() as client:
        found = filtered(client, "ListHolds", "holds", pb.ListRequest(pool=pool))
    if json:
        output.print_json(documents(found))
        return
    rows = [[each.id, _stock(each), each.owner, words.until(each.expires_at)] for each in found]
    output.print_table(("ticket", "left", "owner", "until"), rows, empty="no holds")


def show_hold(ticket: str, /, *, json: bool = False) -> None:
    """Show what is left of one ticket.

    Parameters
    ----------
    ticket
        The ticket.
    json
        Print one JSON document, Hold.

    """
    with connect() as client:
        found = client.call("GetHold", pb.GetRequest(id=ticket))
    if json:
        output.print_json(document(found))
    else:
        _print_hold(found)


def release_hold(ticket: str, /) -> None:
    """Give back what a ticket still holds; one that is over or unknown is no error.

    Parameters
    ----------
    ticket
        The ticket.

    """
    with connect() as client:
        try:
            client.call("GetHold", pb.GetRequest(id=ticket))
        except NotFound as error:
            output.note(f"nothing to give back: {error}")
            return
        client.call("ReleaseHold", pb.DeleteRequest(id=ticket))
    print(f"ticket {ticket} holds nothing any more")


def _print_hold(hold: Any) -> None:
    output.print_fields(
        [
            ("ticket", hold.id),
            ("left", _stock(hold)),
            ("owner", hold.owner),
            ("until", words.until(hold.expires_at)),
            ("created", words.ago(hold.created_at)),
        ]
    )


def _stock(hold: Any) -> str:
    return ", ".join(f"{each.remaining} of {each.count} of {each.pool}" for each in hold.pools)

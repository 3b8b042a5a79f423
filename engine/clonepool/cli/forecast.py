"""`clonepool forecast`: what a plan of Pulumi's or Terraform's will do to storage."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clonepool.api.endpoint import client_environment
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import FORESEEN, OK, forecast_report, output
from clonepool.cli.documents import document
from clonepool.cli.forecast_holds import Asked, ask
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import PULUMI, TERRAFORM, load, read_pulumi, read_terraform
from clonepool.cli.session import connect
from clonepool.errors import InvalidArgument, Unavailable
from clonepool.units import parse_duration

Format = Literal["table", "markdown", "json"]
FailOn = Literal["never", "failures", "waits"]
# "-" is a value here, not an option
File = Annotated[str, Parameter(allow_leading_hyphen=True)]


def forecast_pulumi(
    preview: File,
    /,
    *,
    hold: str = "",
    owner: str = "",
    ticket: str = "",
    format: Format = "table",  # noqa: A002 - its flag
    fail_on: FailOn = "never",
) -> int:
    """Say what `pulumi preview --json` will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a preview must not fail for it.

    Parameters
    ----------
    preview
        The file that `pulumi preview --json` was written to; - reads standard input.
    hold
        Hold what the plan's attachments need for so long, such as 30m, and print the ticket.
    owner
        Who it is held for, to read in `hold list`.
    ticket
        Count on what this ticket holds (default: CLONEPOOL_HOLD; with --hold a new one is made).
    format
        table (default), markdown for a comment, or json.
    fail_on
        End with exit code 4 when something fails (failures), or also when an attachment has to
        wait (waits); never by default.

    """
    asked = _asked(hold=hold, owner=owner, ticket=ticket)
    plan = load(preview, key="steps", made_by=PULUMI)
    request = pb.ForecastRequest(stop_at_failure=True)
    reading = read_pulumi(plan, path=preview)
    answer = _show(reading, request, asked, format_=format, apply="pulumi up")
    return _exit_code(answer, fail_on)


def forecast_terraform(
    plan: File,
    /,
    *,
    hold: str = "",
    owner: str = "",
    ticket: str = "",
    format: Format = "table",  # noqa: A002 - its flag
    fail_on: FailOn = "never",
) -> int:
    """Say what a Terraform or OpenTofu plan will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a plan must not fail for it.

    Parameters
    ----------
    plan
        The file that `terraform show -json PLAN` was written to; - reads standard input.
    hold
        Hold what the plan's attachments need for so long, such as 30m, and print the ticket.
    owner
        Who it is held for, to read in `hold list`.
    ticket
        Count on what this ticket holds (default: CLONEPOOL_HOLD; with --hold a new one is made).
    format
        table (default), markdown for a comment, or json.
    fail_on
        End with exit code 4 when something fails (failures), or also when an attachment has to
        wait (waits); never by default.

    """
    asked = _asked(hold=hold, owner=owner, ticket=ticket)
    document_ = load(plan, key="resource_changes", made_by=TERRAFORM)
    request = pb.ForecastRequest()
    reading = read_terraform(document_, path=plan)
    answer = _show(reading, request, asked, format_=format, apply="terraform apply")
    return _exit_code(answer, fail_on)


def _asked(*, hold: str, owner: str, ticket: str) -> Asked:
    if hold and ticket:
        raise InvalidArgument.field("--hold", "makes a ticket; leave out --ticket, or this")
    if owner and not hold:
        raise InvalidArgument.field("--owner", "is whom --hold holds for; give that, or leave it")
    if hold:
        duration_s = parse_duration(hold, field="--hold")
        if duration_s < 1:
            raise InvalidArgument.field("--hold", f"{hold} must be at least 1 second")
        return Asked(duration_s=duration_s, owner=owner)
    return Asked(ticket=ticket or client_environment().hold)


def _show(
    reading: Reading, request: pb.ForecastRequest, asked: Asked, *, format_: Format, apply: str
) -> pb.ForecastResponse | None:
    """Print the forecast; None where no engine answered."""
    request.changes.extend(reading.changes)
    try:
        with connect() as client:
            answer = ask(client, request, asked)
    except Unavailable as error:
        line = f"no forecast: {' '.join(str(error).split())}"
        if format_ == "json":
            output.print_json({"forecast": None, "hold": None, "notes": [*reading.notes, line]})
        else:
            print(line)
        return None
    made, hold, notes = answer.forecast, answer.hold, [*answer.notes, *reading.notes]
    if format_ == "json":
        held = document(hold) if hold is not None else None
        output.print_json({"forecast": document(made), "hold": held, "notes": notes})
    elif format_ == "markdown":
        print(forecast_report.markdown(made, notes, hold=hold, apply=apply))
    else:
        _print_tables(made, notes, hold=hold, apply=apply)
    return made


def _exit_code(answer: pb.ForecastResponse | None, fail_on: FailOn) -> int:
    if answer is None or fail_on == "never":
        return OK
    bad = {"fails"} if fail_on == "failures" else {"fails", "waits"}
    foreseen = answer.failures or any(each.outcome in bad for each in answer.attachments)
    return FORESEEN if foreseen else OK


def _print_tables(
    answer: pb.ForecastResponse, notes: list[str], *, hold: pb.Hold | None, apply: str
) -> None:
    print(forecast_report.summary(answer, hold))
    for columns, rows in (
        (forecast_report.FAILURES, forecast_report.failure_rows(answer)),
        (forecast_report.ATTACHMENTS, forecast_report.attachment_rows(answer)),
        (forecast_report.POOLS, forecast_report.pool_rows(answer)),
    ):
        if rows:
            print()
            output.print_table(columns, rows, empty="")
    lines = [
        *forecast_report.image_lines(answer),
        *forecast_report.closing_lines(answer),
        *notes,
    ]
    if lines:
        print("", *lines, sep="\n")
    if forecast_report.is_used(hold, answer):
        print(f"\nuse what is held: {forecast_report.use_of(hold, apply)}")

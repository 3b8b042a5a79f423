"""`clonepool forecast`: what a plan of Pulumi's or Terraform's will do to storage."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import FORESEEN, OK, forecast_report, output
from clonepool.cli.documents import document
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import load, read_pulumi, read_terraform
from clonepool.cli.session import connect
from clonepool.errors import Unavailable

Format = Literal["table", "markdown", "json"]
FailOn = Literal["never", "failures", "waits"]
# "-" is a value here, not an option
File = Annotated[str, Parameter(allow_leading_hyphen=True)]


def forecast_pulumi(
    preview: File,
    /,
    *,
    format: Format = "table",  # noqa: A002 - its flag
    fail_on: FailOn = "never",
) -> int:
    """Say what `pulumi preview --json` will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a preview must not fail for it.

    Parameters
    ----------
    preview
        The file that `pulumi preview --json` was written to; - reads standard input.
    format
        table (default), markdown for a comment, or json.
    fail_on
        End with exit code 4 when something fails (failures), or also when an attachment has to
        wait (waits); never by default.

    """
    plan = load(preview, key="steps", made_by="pulumi preview --json")
    answer = _show(read_pulumi(plan), stop_at_failure=True, format_=format)
    return _exit_code(answer, fail_on)


def forecast_terraform(
    plan: File,
    /,
    *,
    format: Format = "table",  # noqa: A002 - its flag
    fail_on: FailOn = "never",
) -> int:
    """Say what a Terraform or OpenTofu plan will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a plan must not fail for it.

    Parameters
    ----------
    plan
        The file that `terraform show -json PLAN` was written to; - reads standard input.
    format
        table (default), markdown for a comment, or json.
    fail_on
        End with exit code 4 when something fails (failures), or also when an attachment has to
        wait (waits); never by default.

    """
    document_ = load(plan, key="resource_changes", made_by="terraform show -json PLAN")
    answer = _show(read_terraform(document_), stop_at_failure=False, format_=format)
    return _exit_code(answer, fail_on)


def _show(
    reading: Reading, *, stop_at_failure: bool, format_: Format
) -> pb.ForecastResponse | None:
    """Print the forecast; None where no engine answered."""
    request = pb.ForecastRequest(changes=reading.changes, stop_at_failure=stop_at_failure)
    try:
        with connect() as client:
            answer: pb.ForecastResponse = client.call("Forecast", request)
    except Unavailable as error:
        line = f"no forecast: {' '.join(str(error).split())}"
        if format_ == "json":
            output.print_json({"forecast": None, "notes": [*reading.notes, line]})
        else:
            print(line)
        return None
    if format_ == "json":
        output.print_json({"forecast": document(answer), "notes": reading.notes})
    elif format_ == "markdown":
        print(forecast_report.markdown(answer, reading.notes))
    else:
        _print_tables(answer, reading.notes)
    return answer


def _exit_code(answer: pb.ForecastResponse | None, fail_on: FailOn) -> int:
    if answer is None or fail_on == "never":
        return OK
    bad = {"fails"} if fail_on == "failures" else {"fails", "waits"}
    foreseen = answer.failures or any(each.outcome in bad for each in answer.attachments)
    return FORESEEN if foreseen else OK


def _print_tables(answer: pb.ForecastResponse, notes: list[str]) -> None:
    print(forecast_report.summary(answer))
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

"""`clonepool forecast`: what a plan of Pulumi's or Terraform's will do to storage."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import forecast_report, output
from clonepool.cli.documents import document
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import load, read_pulumi, read_terraform
from clonepool.cli.session import connect
from clonepool.errors import Unavailable

Format = Literal["table", "markdown", "json"]
# "-" is a value here, not an option
File = Annotated[str, Parameter(allow_leading_hyphen=True)]


def forecast_pulumi(preview: File, /, *, format: Format = "table") -> None:  # noqa: A002 - its flag
    """Say what `pulumi preview --json` will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a preview must not fail for it.

    Parameters
    ----------
    preview
        The file that `pulumi preview --json` was written to; - reads standard input.
    format
        table (default), markdown for a comment, or json.

    """
    plan = load(preview, key="steps", made_by="pulumi preview --json")
    _show(read_pulumi(plan), stop_at_failure=True, format_=format)


def forecast_terraform(plan: File, /, *, format: Format = "table") -> None:  # noqa: A002 - its flag
    """Say what a Terraform or OpenTofu plan will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a plan must not fail for it.

    Parameters
    ----------
    plan
        The file that `terraform show -json PLAN` was written to; - reads standard input.
    format
        table (default), markdown for a comment, or json.

    """
    document_ = load(plan, key="resource_changes", made_by="terraform show -json PLAN")
    _show(read_terraform(document_), stop_at_failure=False, format_=format)


def _show(reading: Reading, *, stop_at_failure: bool, format_: Format) -> None:
    request = pb.ForecastRequest(changes=reading.changes, stop_at_failure=stop_at_failure)
    try:
        with connect() as client:
            answer = client.call("Forecast", request)
    except Unavailable as error:
        line = f"no forecast: {' '.join(str(error).split())}"
        if format_ == "json":
            output.print_json({"forecast": None, "notes": [*reading.notes, line]})
        else:
            print(line)
        return
    if format_ == "json":
        output.print_json({"forecast": document(answer), "notes": reading.notes})
    elif format_ == "markdown":
        print(forecast_report.markdown(answer, reading.notes))
    else:
        _print_tables(answer, reading.notes)


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

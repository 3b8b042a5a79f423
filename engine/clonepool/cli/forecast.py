"""`clonepool forecast`: what a plan of Pulumi's or Terraform's will do to storage."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import FORESEEN, OK, forecast_report, output
from clonepool.cli.documents import document
from clonepool.cli.forecast_holds import ask
from clonepool.cli.forecast_options import FailOn, ForecastOptions, Wish
from clonepool.cli.plan_changes import Reading
from clonepool.cli.plan_files import PULUMI, TERRAFORM, load, read_pulumi, read_terraform
from clonepool.cli.session import connect
from clonepool.errors import Unavailable

# "-" is a value here, not an option
File = Annotated[str, Parameter(allow_leading_hyphen=True)]
Options = Annotated[ForecastOptions, Parameter(name="*", show_default=False, negative=())]
_AS_IT_IS: Final = ForecastOptions()


def forecast_pulumi(preview: File, /, *, options: Options = _AS_IT_IS) -> int:
    """Say what `pulumi preview --json` will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a preview must not fail for it.

    Parameters
    ----------
    preview
        The file that `pulumi preview --json` was written to; - reads standard input.
    options
        How the plan is foreseen, and what comes of it.

    """
    wish = options.checked()
    plan = load(preview, key="steps", made_by=PULUMI)
    request = pb.ForecastRequest(stop_at_failure=True)
    reading = read_pulumi(plan, path=preview)
    return _foresee(reading, request, wish, apply="pulumi up")


def forecast_terraform(plan: File, /, *, options: Options = _AS_IT_IS) -> int:
    """Say what a Terraform or OpenTofu plan will do to storage. Changes nothing.

    Without an engine it prints one line and succeeds: a plan must not fail for it.

    Parameters
    ----------
    plan
        The file that `terraform show -json PLAN` was written to; - reads standard input.
    options
        How the plan is foreseen, and what comes of it.

    """
    wish = options.checked()
    document_ = load(plan, key="resource_changes", made_by=TERRAFORM)
    request = pb.ForecastRequest()
    reading = read_terraform(document_, path=plan)
    return _foresee(reading, request, wish, apply="terraform apply")


def _foresee(reading: Reading, request: pb.ForecastRequest, wish: Wish, *, apply: str) -> int:
    return _exit_code(_show(reading, request, wish, apply=apply), wish.fail_on)


def _show(
    reading: Reading, request: pb.ForecastRequest, wish: Wish, *, apply: str
) -> pb.ForecastResponse | None:
    """Print the forecast; None where no engine answered."""
    request.changes.extend(reading.changes)
    try:
        with connect() as client:
            answer = ask(client, request, wish.asked)
    except Unavailable as error:
        line = f"no forecast: {' '.join(str(error).split())}"
        if wish.format == "json":
            output.print_json({"forecast": None, "hold": None, "notes": [*reading.notes, line]})
        else:
            print(line)
        return None
    made, hold, notes = answer.forecast, answer.hold, [*answer.notes, *reading.notes]
    if wish.format == "json":
        held = document(hold) if hold is not None else None
        output.print_json({"forecast": document(made), "hold": held, "notes": notes})
    elif wish.format == "markdown":
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

"""What both forecasts are asked with: what is held for the plan, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clonepool.api.endpoint import client_environment
from clonepool.cli.forecast_holds import Asked
from clonepool.errors import InvalidArgument
from clonepool.units import parse_duration

Format = Literal["table", "markdown", "json"]
FailOn = Literal["never", "failures", "waits"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options, checked."""

    asked: Asked
    format: Format
    fail_on: FailOn


@dataclass(frozen=True, kw_only=True)
class ForecastOptions:
    """How a plan is foreseen, and what comes of it.

    Parameters
    ----------
    hold
        Hold what the plan's attachments need for so long, such as 30m, and print the ticket.
    owner
        Who it is held for, to read in `hold list`.
    ticket
        Count on what this ticket holds (default: CLONEPOOL_HOLD; with --hold a new one is made).
    format
        table (default), markdown for a comment, or json.
    json
        Print JSON: the same as --format json.
    fail_on
        End with exit code 4 when something fails (failures), or also when an attachment has to
        wait (waits); never by default.

    """

    hold: str = ""
    owner: str = ""
    ticket: str = ""
    format: Format | None = None
    json: bool = False
    fail_on: FailOn = "never"

    def checked(self) -> Wish:
        """What they come to. Raises InvalidArgument naming the option."""
        return Wish(asked=self._asked(), format=self._format(), fail_on=self.fail_on)

    def _asked(self) -> Asked:
        if self.hold and self.ticket:
            raise InvalidArgument.field("--hold", "makes a ticket; leave out --ticket, or this")
        if self.owner and not self.hold:
            text = "is whom --hold holds for; give that, or leave it"
            raise InvalidArgument.field("--owner", text)
        if self.hold:
            duration_s = parse_duration(self.hold, field="--hold")
            if duration_s < 1:
                raise InvalidArgument.field("--hold", f"{self.hold} must be at least 1 second")
            return Asked(duration_s=duration_s, owner=self.owner)
        return Asked(ticket=self.ticket or client_environment().hold)

    def _format(self) -> Format:
        if self.json and self.format not in {None, "json"}:
            raise InvalidArgument.field("--json", f"is not --format {self.format}; give one")
        return "json" if self.json else self.format or "table"

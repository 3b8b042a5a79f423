"""Logging as Terraform reads it from a provider: a JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_LEVELS: Final = {"WARNING": "warn", "CRITICAL": "error"}


class HclogFormatter(logging.Formatter):
    """One record as hclog writes it; TF_LOG decides what is shown of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, a traceback included."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return json.dumps(
            {
                "@level": _LEVELS.get(record.levelname, record.levelname.lower()),
                "@message": text,
                "@module": record.name,
                "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            }
        )


def log_to(stream: TextIO = sys.stderr) -> None:
    """Send everything that is logged there."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HclogFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)

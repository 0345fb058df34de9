"""The log of a command that runs until it is stopped: a line on stderr for each record, as text or JSON."""

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

from scheduler_repo.cli.process.failure import redact, report_stray_errors
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.database.ownership import OwnedPool
from scheduler_repo.quoting import visible_json

TEXT: Final = "text"
JSON: Final = "json"
# A record's own figures, beside its message: logger.info(..., extra={FIELDS: {...}}).
FIELDS: Final = "scheduler_repo_fields"


def begin_log(invocation: Invocation, log_format: str) -> None:
    """Write what is logged to stderr from here on: by this package at level INFO, by others at WARNING.

    Warnings and stray errors are records of it too and, in JSON, the error that ends the command.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == JSON else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("scheduler_repo").setLevel(logging.INFO)
    # SQLAlchemy names a pool's logger after its class: this one is of the package, but what it says is not.
    logging.getLogger(f"{OwnedPool.__module__}.{OwnedPool.__qualname__}").setLevel(logging.WARNING)
    logger = logging.getLogger("scheduler_repo.cli")
    report_stray_errors(logger.warning)
    if log_format == JSON:
        invocation.report_error = logger.error


class TextFormatter(logging.Formatter):
    """A time in UTC, a level, and the message; none holds a secret, or what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
        return f"{at}Z {redact(f'{record.levelname.lower()}: {record.getMessage()}')}"


class JsonFormatter(logging.Formatter):
    """One JSON object: time (RFC 3339, UTC), level, logger, message, and the record's own figures."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **getattr(record, FIELDS, {}),
        }
        return visible_json(msgspec.json.encode(line).decode())

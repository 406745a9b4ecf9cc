"""Logs of a running application.

What it is for: one line per event on stderr, as text or JSON, with the request's trace id; never payloads or secrets.
What may live here: formatters, the observer that logs finished calls, the setup.
What may not: what is worth logging elsewhere.
"""

import json
import logging
import re
import sys
import time
from typing import Literal

from msgspec import UNSET

from trunkline.engine.context import Context

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_USER_INFO = re.compile(r"(?<=://)[^/?#@]*@")
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
logger = logging.getLogger("trunkline.calls")


def set_up(
    level: str, format: LogFormat = "text", handler: logging.Handler | None = None, worker: int | None = None
) -> None:
    """Send all logs to stderr, or to `handler`, from `level` on; a `worker` says which one it is."""
    handler = handler or logging.StreamHandler(sys.stderr)
    if worker is not None:
        handler.addFilter(_Numbered(worker))
    handler.setFormatter(JSONFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their lines repeat ours, without the request's id, or are of no use to operators.
    for noisy in ("uvicorn", "uvicorn.error", "aiohttp.access", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class TextFormatter(logging.Formatter):
    """For people: time, level, message, and the fields as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        fields = " ".join(f"{key}={_word(value)}" for key, value in _fields(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():<7} {printable(record.getMessage())}" + (
            f"  {fields}" if fields else ""
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Numbered(logging.Filter):
    """Adds the worker's number to each record."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with the number."""
        record.worker = self._worker
        return True


class CallLog:
    """An observer that logs every finished call: what was called, by whom, how it ended, how long it took."""

    def finished(self, context: Context, outcome: str, seconds: float) -> None:
        """Log one call; its arguments and result are never part of it."""
        if not logger.isEnabledFor(logging.INFO):
            return
        params = context.params
        subject = params.name
        if subject is UNSET and params.uri is not UNSET:
            # Secrets stand in a URI's query and user information.
            subject = _USER_INFO.sub("", params.uri).partition("?")[0]
        fields: dict[str, object] = {"request": context.trace, "method": context.method}
        if subject is not UNSET:
            fields["subject"] = subject[:200]
        fields |= {"outcome": outcome, "ms": round(seconds * 1000, 1), "principal": context.principal.subject}
        # What `logger.info` would look for beside, the line of code, is the same for all calls, and dear to find.
        record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, "call", None, None)
        vars(record).update(fields)
        logger.handle(record)


def printable(text: str) -> str:
    """A text of someone else as one line, with what would move the cursor or forge a line written as an escape."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _word(value: object) -> str:
    text = printable(str(value))
    return _encode(text) if " " in text or '"' in text else text


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}

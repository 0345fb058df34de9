"""Texts of others in what a person reads: values, names, messages; on one line, without secrets.

Whatever comes from a database, a file, a server or a user may hold what moves a terminal's cursor, reorders its
characters, or looks like another line. ``visible`` shows all of that as escapes.
"""

import logging
from collections.abc import Mapping
from typing import Final

from scheduler_repo.secret_urls import HIDDEN, hide_secrets, may_hold_secret, shown_url

_LONGEST: Final = 60


def visible(text: str) -> str:
    """Write a text as one line that any terminal shows as it is: what is not printable becomes an escape.

    That is what Python calls not printable: control characters, those that set the direction of writing or are
    not seen, separators of lines, surrogates. Applied again it changes nothing.
    """
    if text.isprintable():
        return text
    return text.translate({ord(char): repr(char)[1:-1] for char in set(text) if not char.isprintable()})


def visible_json(encoded: str) -> str:
    """Write JSON so that any terminal shows it as it is: what is not printable becomes an escape of JSON's own.

    Line breaks between the values stay.
    """
    if encoded.isprintable():
        return encoded
    odd = {char for char in set(encoded) if not char.isprintable()} - {"\n"}
    return encoded.translate({ord(char): _escape(char) for char in odd})


def clean_message(text: str) -> str:
    """Write the message of an error or of a log on one line, without the passwords of URLs in it."""
    return visible(hide_secrets(text))


def get_logger(name: str) -> logging.Logger:
    """Return a module's logger; texts that it is given are shown as ``clean_message`` writes them."""
    logger = logging.getLogger(name)
    logger.addFilter(_write_arguments)
    return logger


def _write_arguments(record: logging.LogRecord) -> bool:
    if record.args and not isinstance(record.args, Mapping):
        record.args = tuple(
            argument if isinstance(argument, (int, float)) else clean_message(str(argument))
            for argument in record.args
        )
    return True


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def quoted(value: object, longest: int = _LONGEST) -> str:
    """Write a value as Python does, cut at ``longest`` characters; its type where that cannot be done.

    What may be a secret is hidden before anything is cut.
    """
    try:
        if isinstance(value, str) and may_hold_secret(value):
            return repr(shown_url(value) if "://" in value else HIDDEN)[:longest]
        return hide_secrets(repr(value))[:longest]
    except (ValueError, RecursionError):
        # An int of thousands of digits, or lists within lists within lists.
        return f"<{type(value).__name__}>"


def with_article(kind: type) -> str:
    """Write a class as a noun, such as "an int" or "a UUID"."""
    return f"{'an' if kind.__name__[0] in 'AEIOaeio' else 'a'} {kind.__name__}"


def printable(text: str) -> str:
    """Write lone surrogates as escapes: they cannot be stored, or printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(value: object, longest: int = 200) -> str:
    """Write a name or id as it is, cut at ``longest`` characters, on one line."""
    return visible(str(value))[:longest]

"""Values in messages: written as they were given, cut, whatever they are."""

from typing import Final

_LONGEST: Final = 60


def quoted(value: object, longest: int = _LONGEST) -> str:
    """Write a value as Python does, cut at ``longest`` characters; its type where that cannot be done."""
    try:
        return repr(value)[:longest]
    except (ValueError, RecursionError):
        # An int of thousands of digits, or lists within lists within lists.
        return f"<{type(value).__name__}>"


def printable(text: str) -> str:
    """Write lone surrogates as escapes: they cannot be stored, or printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(value: object, longest: int = 200) -> str:
    """Write a name or id as it is, cut at ``longest`` characters, lone surrogates as escapes."""
    return printable(str(value))[:longest]

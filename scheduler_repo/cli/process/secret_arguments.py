"""Removes URLs with a password from the command line, which every account of the machine can read."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Optional

URL_OPTIONS: Final[Mapping[str, str]] = {
    "--database-url": "SCHEDULER_REPO_DATABASE_URL",
    "--redis-url": "SCHEDULER_REPO_REDIS_URL",
}
# Lists the options that were moved to the environment. Begins with an underscore, as it is not a setting.
_MOVED_VARIABLE: Final = "_SCHEDULER_REPO_TAKEN_OPTIONS"
# Only a scheme and a place, or a user without a password: nothing secret.
_OPEN_URL: Final = re.compile(r"[a-z0-9+.]+://([^:/?#@]*@)?[^?#@]*")


class HiddenArguments(NamedTuple):
    """The arguments that are left, and the variables that carry the URLs instead."""

    arguments: list[str]
    variables: dict[str, str]


def hide_secret_urls() -> None:
    """Start the same command again with its URLs in the environment, if one may hold a password.

    A process cannot change its arguments, but an exec replaces them, and only its own account and root can read
    its environment. Returns if there is nothing to hide.
    """
    arguments = sys.argv[1:]
    hidden = take_secret_urls(arguments)
    interpreter = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
    if hidden is None or not sys.executable or [*interpreter, *arguments] != sys.orig_argv:
        return
    moved = " ".join(option for option, variable in URL_OPTIONS.items() if variable in hidden.variables)
    environment = {**os.environ, **hidden.variables, _MOVED_VARIABLE: moved}
    os.execve(sys.executable, [*interpreter, *hidden.arguments], environment)  # noqa: S606


def came_as_option(option: str) -> bool:
    """Whether ``hide_secret_urls`` moved this option's URL to the environment; else the caller put it there."""
    return option in os.environ.get(_MOVED_VARIABLE, "").split()


def take_secret_urls(arguments: Sequence[str]) -> Optional[HiddenArguments]:
    """Remove the URL options from ``arguments`` if one may hold a password; None if nothing needs hiding."""
    left: list[str] = []
    variables: dict[str, str] = {}
    has_secret = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            left.append(argument)
            break
        option, has_value, value = argument.partition("=")
        if option not in URL_OPTIONS:
            left.append(argument)
            continue
        given = value if has_value else next(rest, None)
        if given is None:
            left.append(argument)
            break
        variables[URL_OPTIONS[option]] = given
        has_secret = has_secret or _OPEN_URL.fullmatch(given) is None
    left.extend(rest)
    return HiddenArguments(left, variables) if has_secret else None

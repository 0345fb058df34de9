"""The secrets that a command was given: out of the process list, and out of what it prints.

Every account of the machine can read the process list.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Optional

from scheduler_repo.secret_urls import HIDDEN, is_open_url, may_hold_secret, secret_parts

URL_OPTIONS: Final[Mapping[str, str]] = {
    "--database-url": "SCHEDULER_REPO_DATABASE_URL",
    "--redis-url": "SCHEDULER_REPO_REDIS_URL",
}
# Lists the options that were moved to the environment. Begins with an underscore, as it is not a setting.
_MOVED_VARIABLE: Final = "_SCHEDULER_REPO_TAKEN_OPTIONS"
_PREFIX: Final = "SCHEDULER_REPO_"
# A shorter one is refused, and may stand in any word.
_SHORTEST_KEY: Final = 8
_KEYS_VARIABLE: Final = f"{_PREFIX}REDIS_SIGNING_KEYS"


class HiddenArguments(NamedTuple):
    """The arguments that are left, the variables that carry the URLs instead, and all the URLs."""

    arguments: list[str]
    variables: dict[str, str]
    urls: tuple[str, ...]


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
    hidden = take_url_options(arguments)
    return hidden if any(not is_open_url(url) for url in hidden.urls) else None


def take_url_options(arguments: Sequence[str]) -> HiddenArguments:
    """Remove the URL options from ``arguments``; the last of several counts, as it does for click."""
    left: list[str] = []
    variables: dict[str, str] = {}
    urls: list[str] = []
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
        urls.append(given)
    left.extend(rest)
    return HiddenArguments(left, variables, tuple(urls))


def hide_given_secrets(text: str) -> str:
    """Return ``text`` without the secrets among the arguments and variables, wherever they were given."""
    secrets = _given_secrets()
    # As Python quotes them, and as terminals are shown them.
    spellings = secrets | {repr(secret)[1:-1] for secret in secrets}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def _given_secrets() -> set[str]:
    hidden = take_url_options(sys.argv[1:])
    settings = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    urls = [*hidden.urls, *(settings.pop(name) for name in URL_OPTIONS.values() if name in settings)]
    keys = settings.pop(_KEYS_VARIABLE, "").split(",")
    secrets = {key for each in keys if len(key := each.strip()) >= _SHORTEST_KEY}
    # A URL may have been given to the wrong option or variable.
    for given in (*hidden.arguments, *settings, *settings.values()):
        urls += [value for value in (given, given.partition("=")[2]) if may_hold_secret(value)]
    return secrets.union(*map(secret_parts, urls))

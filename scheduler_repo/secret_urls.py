"""Hides passwords in texts: reads a text as a URL, and hides what is in doubt.

A part is shown only if every reading of the text agrees that it is no secret, and if it is made of plain
characters; the password itself and the options are never shown.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Optional
from urllib.parse import unquote, unquote_plus

HIDDEN: Final = "***"
NOT_A_URL: Final = "(not a URL)"

_DATABASES: Final = ("postgresql", "postgres", "mysql", "mariadb", "sqlite", "oracle", "mssql")
_CACHES: Final = ("redis", "rediss", "valkey", "valkeys", "unix")
_DRIVERS: Final = ("asyncpg", "psycopg", "psycopg2", "psycopg_async", "pg8000", "aiopg")
_SCHEMES: Final = frozenset(
    (*_DATABASES, *_CACHES, *(f"{name}+{driver}" for name in _DATABASES for driver in _DRIVERS))
)
# Their words are the driver's own, or say where the server is.
_PLAIN_OPTIONS: Final = frozenset(
    ("host", "port", "user", "username", "dbname", "db", "ssl", "sslmode", "target_session_attrs", "protocol")
)
_SECRET_OPTIONS: Final = frozenset(
    ("password", "passwd", "pwd", "passfile", "sslpassword", "sslkey", "pass", "pgpassword")
)
_OPTIONS: Final = _PLAIN_OPTIONS | _SECRET_OPTIONS
# Of one message; nobody writes more, and each costs a look at all that follows.
_MOST_URLS: Final = 20
_LONGEST_PORT: Final = 5
# A shorter one stands in too many words to be searched for.
_SHORTEST_SECRET: Final = 3
_ENDS_OF_URL: Final = frozenset(" \t\r\n\v\f'\"`<>\\")
_AFTER_URL: Final = ".,;:!)]}"


class _Reading(NamedTuple):
    """A URL as it may be shown, and the parts of it that may be secret."""

    shown: str
    secrets: frozenset[str] = frozenset()


def shown_url(text: str) -> str:
    """Return where a URL leads, without its password and options; ``***`` for each part that is in doubt."""
    return _read(text).shown


def is_open_url(text: str) -> bool:
    """Whether a text is a URL that holds nothing secret."""
    return shown_url(text) == text


def secret_parts(text: str) -> frozenset[str]:
    """Return the parts of a URL that may be secret, as they stand in it and decoded, to be looked for.

    A text without a scheme is read as if it had one; all of one that is no URL may be secret.
    """
    if is_open_url(text):
        return frozenset()
    parts = {text}
    for each in {text, _decoded(text)}:
        parts |= _read(each).secrets
        if "://" not in each and "@" in each and _find_secret_option(each) is None:
            parts |= _read(f"postgresql://{each}").secrets
    shown = shown_url(text)
    return frozenset(part for part in parts - _OPTIONS if len(part) >= _SHORTEST_SECRET and part not in shown)


def may_hold_secret(text: str) -> bool:
    """Whether a text, which need not be a URL, may hold a password: as a URL or as options, encoded or not."""
    decoded = _decoded(text)
    if "://" in decoded:
        return not is_open_url(decoded)
    return ("@" in decoded and ":" in decoded) or _find_secret_option(decoded) is not None


def holds_secret_option(text: str) -> bool:
    """Whether a text, encoded or not, is a list of options with a password, such as ``host=h password=p``."""
    return _find_secret_option(_decoded(text)) is not None


def hide_secrets(text: str) -> str:
    """Return a message with each URL in it as ``shown_url`` shows it, cut where the end of one is in doubt."""
    if "://" in text:
        text = "".join(_hide_urls(text))
    if "=" in text:
        secret = _find_secret_option(text)
        if secret is not None:
            return text[:secret] + HIDDEN
    return text


def _hide_urls(text: str) -> Iterator[str]:
    begin = 0
    for _ in range(_MOST_URLS):
        colon = text.find("://", begin)
        if colon < 0:
            yield text[begin:]
            return
        scheme = colon
        while scheme > begin and (text[scheme - 1].isalnum() or text[scheme - 1] in "+.-"):
            scheme -= 1
        end = colon
        while end < len(text) and text[end] not in _ENDS_OF_URL:
            end += 1
        url = text[scheme:end].rstrip(_AFTER_URL) or text[scheme:end]
        end = scheme + len(url)
        shown = shown_url(url)
        # A password may hold a blank or a quote: what follows is then part of the URL.
        rest = text[end:]
        word = next((each for each in rest.split() if any(map(str.isalnum, each))), "")
        if "@" in word or ("@" in rest and (shown != url or "@" not in shown)):
            yield f"{text[begin:colon]}://{HIDDEN}"
            return
        yield text[begin:scheme] + shown
        if shown != url and ("@" not in url or "?" in url):
            yield f" {HIDDEN}" if rest.strip() else ""
            return
        begin = end
    yield HIDDEN


def _find_secret_option(text: str) -> Optional[int]:
    """Return where the value of the first ``password=`` of a list of options begins."""
    equals = text.find("=")
    while equals >= 0:
        end = equals
        while end and text[end - 1].isspace():
            end -= 1
        begin = end
        while begin and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
            begin -= 1
        if text[begin:end].lower() in _SECRET_OPTIONS and text[equals + 1 :].strip(_AFTER_URL + "*"):
            return equals + 1
        equals = text.find("=", equals + 1)
    return None


def _read(text: str) -> _Reading:
    written_scheme, separator, rest = text.partition("://")
    scheme = written_scheme.lower()
    if not separator:
        return _Reading(NOT_A_URL, frozenset((text, *_pieces(text))))
    if scheme not in _SCHEMES:
        # Of a server that is not meant: all or nothing.
        if "@" not in rest and "?" not in rest and _is_plain(scheme, "+.-") and _is_place(rest, slashes=True):
            return _Reading(text)
        return _hide_all(HIDDEN, rest, text)
    if scheme != written_scheme:
        # No driver reads it.
        return _hide_all(scheme, rest, text)
    main, _, query = rest.partition("?")
    options = [option.partition("=") for option in query.split("&")] if query else []
    userinfo, at, place = main.rpartition("@")
    known = all(name in _OPTIONS for name, _, _ in options)
    if "@" in query and (not known or (":" in main and not at)):
        # The question mark, or the colon, may stand in a password that was not escaped.
        return _hide_all(scheme, rest, text)
    if "=" in userinfo and any(mark in userinfo for mark in "/&;"):
        return _hide_all(scheme, rest, text)
    slashes = scheme == "unix"
    if not _is_place(place, slashes=slashes) or (slashes and "/" in userinfo):
        return _hide_all(scheme, rest, text)
    hosts, slash, number = place.partition("/")
    hidden_path = ""
    if scheme in _CACHES and not slashes and not number.strip("/").isdecimal() and number:
        # A database of Redis is a number; nothing says what this is.
        place, hidden_path = f"{hosts}{slash}{HIDDEN}", number
    user, _, password = userinfo.partition(":")
    # Redis knows users since its sixth version, and people write the password there.
    is_shown = not user or (scheme not in _CACHES and _is_plain(unquote(user), "._-+@"))
    secrets = {hidden_path, password, f"{userinfo}@" if password else ""}
    if not is_shown:
        secrets.add(user)
    secrets.update(value for name, _, value in options if name not in _PLAIN_OPTIONS)
    where = [f"{name}={value}" for name, _, value in options if _is_place_option(name, unquote_plus(value))]
    shown_user = f"{user if is_shown else HIDDEN}@" if at else ""
    shown = f"{scheme}://{shown_user}{place}{'?' if where else ''}{'&'.join(where)}"
    return _Reading(shown, _spellings((*secrets, text) if shown != text else ()))


def _hide_all(scheme: str, rest: str, text: str) -> _Reading:
    return _Reading(f"{scheme}://{HIDDEN}", _spellings((text, rest, *_pieces(rest))))


def _spellings(secrets: tuple[str, ...]) -> frozenset[str]:
    """Return secrets as they stand in a URL, and as the driver reads them."""
    return frozenset(
        spelling
        for secret in secrets
        for spelling in (secret, unquote(secret), unquote_plus(secret))
        if spelling
    )


def _pieces(text: str) -> list[str]:
    for mark in "@:/?#&=;,'\"\t\n":
        text = text.replace(mark, " ")
    return text.split()


def _is_place(text: str, *, slashes: bool) -> bool:
    """Whether it is hosts and a path, made of plain characters; a port is a number, or the word "port"."""
    if text == HIDDEN:
        return True
    hosts, _, path = text.partition("/")
    if path != HIDDEN and not _is_plain(unquote(path), "._-+$~ /" if slashes else "._-+$~ "):
        return False
    return all(_is_host(host) for host in hosts.split(","))


def _is_place_option(name: str, value: str) -> bool:
    if name == "port":
        return all(map(_is_port, value.split(",")))
    return name == "host" and _is_place(value, slashes=True)


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= _LONGEST_PORT


def _is_host(text: str) -> bool:
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
        name_is_plain = _is_plain(address, ".:%")
    else:
        name, _, port = text.partition(":")
        name_is_plain = _is_plain(unquote(name), "._-/")
    # Any other word behind the colon may be a password without a host.
    return name_is_plain and (_is_port(port) or port in ("", "port"))


def _is_plain(text: str, marks: str) -> bool:
    return all(char.isalnum() or char in marks for char in text)


def _decoded(text: str) -> str:
    """Undo percent-encoding, also where it was done twice."""
    for _ in range(3):
        text, before = unquote(text), text
        if text == before:
            break
    return text

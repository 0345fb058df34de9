"""Just enough of PromQL to know which metrics and labels a query names; what it does not know it refuses."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<range>\[\$__rate_interval\]|\[[0-9]+[smhdwy]\])
      | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<mark>=~|!~|!=|==|[-+*/(){},=<>])
    )""",
    re.VERBOSE,
)
_FUNCTIONS: Final = frozenset({"histogram_quantile", "increase", "max", "rate", "sum"})
_AGGREGATIONS: Final = frozenset({"max", "sum"})
_LABEL_LISTS: Final = frozenset({"by", "group_left", "on"})
_MATCHERS: Final = frozenset({"=", "!=", "=~", "!~"})


class Selector(NamedTuple):
    """One metric of a query and the labels that it is filtered by, with what they are to match."""

    metric: str
    matchers: tuple[tuple[str, str], ...]
    is_counted: bool  # whether a range follows, over which it is a rate


class Query(NamedTuple):
    """What a query names."""

    selectors: tuple[Selector, ...]
    labels: frozenset[str]  # that it groups or joins by


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokenised(text))
        self._place = 0

    def peek(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def kind(self) -> str:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else ""

    def take(self, *expected: str) -> str:
        word = self.peek()
        if not word or (expected and word not in expected):
            raise ValueError(f"{word!r} where {expected or 'something'} was expected")
        self._place += 1
        return word


def _tokenised(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ValueError(f"{text[place : place + 20]!r} in {text!r} is not understood")
        yield match.lastgroup, match[match.lastgroup]
        place = match.end()


def parsed(text: str) -> Query:
    """Take a query apart; raises ValueError for what is not understood, and for brackets that do not match."""
    tokens = _Tokens(text)
    selectors: list[Selector] = []
    labels: set[str] = set()
    depth = 0
    while word := tokens.peek():
        kind = tokens.kind()
        tokens.take()
        if kind == "name" and word in _LABEL_LISTS:
            labels.update(_label_list(tokens))
        elif kind == "name" and word in _FUNCTIONS:
            if tokens.peek() != "(" and not (word in _AGGREGATIONS and tokens.peek() == "by"):
                raise ValueError(f"{word} without what it is of, in {text!r}")
        elif kind == "name":
            matchers = tuple(_matchers(tokens)) if tokens.peek() == "{" else ()
            is_counted = tokens.kind() == "range"
            if is_counted:
                tokens.take()
            selectors.append(Selector(word, matchers, is_counted))
        elif word in "()":
            depth += 1 if word == "(" else -1
            if depth < 0:
                raise ValueError(f"a bracket too many in {text!r}")
        elif kind not in ("number", "mark") or word in "{}":
            raise ValueError(f"{word!r} in {text!r} is not understood")
    if depth or not selectors:
        raise ValueError(f"{text!r} is no whole query")
    return Query(tuple(selectors), frozenset(labels))


def _label_list(tokens: _Tokens) -> Iterator[str]:
    tokens.take("(")
    while tokens.peek() != ")":
        yield tokens.take()
        if tokens.peek() != ")":
            tokens.take(",")
    tokens.take(")")


def _matchers(tokens: _Tokens) -> Iterator[tuple[str, str]]:
    tokens.take("{")
    while tokens.peek() != "}":
        label = tokens.take()
        tokens.take(*_MATCHERS)
        yield label, tokens.take().strip('"')
        if tokens.peek() != "}":
            tokens.take(",")
    tokens.take("}")

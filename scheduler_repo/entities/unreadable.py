"""Rows that this version cannot read, because a newer one has stored a word that it does not know."""

from typing import Optional

import msgspec


class UnreadableRow(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A row that was left out of an answer; ``problem`` names the word, and the words that are known."""

    entity: str
    entity_id: str
    problem: str


class PartialAnswer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An answer from which rows may be left out."""

    unreadable: tuple[UnreadableRow, ...] = ()


class DependencyOutlook(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The prospects of a session that another waits for.

    ``is_hopeless``: it waits itself, in a ring or for one that can never succeed. ``unknown_word`` is its
    status or result where this version does not know that; both are None then, and it is waited for.
    """

    is_hopeless: bool = False
    unknown_word: Optional[str] = None

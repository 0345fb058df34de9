"""Rows that this version cannot read, because a newer one has stored a word that it does not know."""

import msgspec


class UnreadableRow(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A row that was left out of an answer; ``problem`` names the word, and the words that are known."""

    entity: str
    entity_id: str
    problem: str

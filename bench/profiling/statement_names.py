"""Names for statements: that of the file that one stands in, else its beginning."""

from functools import cache
from typing import Final

from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.database.statements import Statement

_LONGEST: Final = 40


def name_statement(text: str) -> str:
    """Name a statement by its file, in either of its forms of locking too; one without a file by its words."""
    found = _names().get(text)
    if found is not None:
        return found
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


@cache
def _names() -> dict[str, str]:
    found = {}
    for folder in ("queries", "audit"):
        for file in sorted((SQL_ROOT / folder).rglob("*.sql")):
            statement = Statement(file.stem, file.read_text(encoding="utf-8"))
            for form in (statement, statement.skipping_locked, statement.without_locks):
                found[form.text] = statement.name
    return found

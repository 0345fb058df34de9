"""Where the package's SQL lies: migrations, hot statements, roles and grants."""

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent.parent
# A wheel carries the folder inside the package; a checkout has it beside the package.
SQL_ROOT: Final[Path] = (_PACKAGE if (_PACKAGE / "sql").is_dir() else _PACKAGE.parent) / "sql"


def read_sql_file(name: str) -> str:
    """Return the text of one file, named by its path below the folder, such as ``grants.sql``.

    Raises FileNotFoundError if the package was built without it.
    """
    return (SQL_ROOT / name).read_text(encoding="utf-8")

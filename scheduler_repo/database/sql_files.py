"""Where the package's SQL lies: migrations, hot statements, roles and grants."""

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def _find_sql_root() -> Path:
    # A wheel carries the folder inside the package; a checkout has it beside the package.
    installed = _PACKAGE / "sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


SQL_ROOT: Final[Path] = _find_sql_root()


def read_sql_file(name: str) -> str:
    """Return the text of one file, named by its path below the folder, such as ``grants.sql``.

    Raises FileNotFoundError if the package was built without it.
    """
    return (SQL_ROOT / name).read_text(encoding="utf-8")

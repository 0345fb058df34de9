"""How this command was called, for commands that are printed to be pasted."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

_NAME: Final = "scheduler-repo"
_MODULE: Final = "scheduler_repo.cli"


def invoked_command() -> str:
    """Return the words that run this command from any directory, quoted for a shell.

    The path that it was called by, also where no activated environment leads to it; its bare name if there is
    no such path.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and sys.executable:
        return f"{shlex.quote(sys.executable)} -m {_MODULE}"
    found = called.absolute() if called.name != sys.argv[0] else Path(shutil.which(sys.argv[0]) or "")
    return shlex.quote(str(found)) if found.is_file() and os.access(found, os.X_OK) else _NAME

"""Python without a package that is installed."""

import os
import subprocess
import sys


def run_without(module: str, code: str) -> str:
    """Run code in a Python where a module cannot be found; return what it printed."""
    script = f"import sys; sys.modules[{module!r}] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    ).stdout

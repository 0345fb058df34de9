"""The machine and the programs that something was measured on, so that figures can be read a year later."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Optional

from bench.data.place import Place

_CHECKOUT: Final = Path(__file__).parents[2]
# Results are measured by it; to write them changes nothing.
_MEASURED: Final = ("scheduler_repo", "sql", "bench", ":!bench/results", ":!**/*.md")
_PACKAGES: Final = ("asyncpg", "sqlalchemy", "msgspec", "uvloop", "redis")
_SERVER_SETTINGS: Final = (
    "server_version",
    "shared_buffers",
    "work_mem",
    "fsync",
    "synchronous_commit",
    "autovacuum",
)


async def describe_machine(place: Place) -> dict[str, object]:
    """Say when it is, and describe processor, memory, system, Python with its packages, and the server."""
    async with place.driver() as driver:
        server = {name: await driver.fetchval(f"SHOW {name}") for name in _SERVER_SETTINGS}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
        "scheduler_repo": version("scheduler-repo"),
        "commit": _commit(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "postgresql": server,
    }


def _commit() -> Optional[str]:
    """Name the commit of this checkout, and whether what is measured was changed since; None without git."""
    head = _ask_git("rev-parse", "--short", "HEAD")
    if not head:
        return None
    changed = _ask_git("status", "--porcelain", "--untracked-files=no", *_MEASURED)
    return f"{head}, changed since" if changed else head


def _ask_git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(_CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

"""The machine and the programs that something was measured on, so that figures can be read a year later."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.data.place import Place

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
    """Describe processor, memory, system, Python with its packages, and the server of ``place``."""
    async with place.driver() as driver:
        server = {name: await driver.fetchval(f"SHOW {name}") for name in _SERVER_SETTINGS}
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "postgresql": server,
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

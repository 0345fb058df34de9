"""Names that attack a terminal, in every place that a command can show."""

import re
from collections.abc import Iterator

import click

from scheduler_repo.cli.command_group import command_line
from tests.support.databases import ADMIN, Database

FORGED = "error: FORGED"
# Colours, the title of the window, C1, directions, what is not seen, and what ends a line anywhere.
_SEQUENCES = "\x1b[31m\x1b]0;TITLE\x07\x9b31m\x9d0;TITLE\x9c"
HOSTILE = f"{_SEQUENCES}\u202e\u2066\u200f\u200b\ufeff\x7f\b\x85\u2028\v\f\r\n{FORGED}\t"
# As a person and a program see the second of its sequences.
ESCAPED = ("\\x1b]0;TITLE", "\\u001b]0;TITLE")

_TEXT_COLUMNS = """
SELECT c.oid::regclass::text AS table_name, quote_ident(a.attname) AS column_name,
    a.atttypid = 'text[]'::regtype AS is_array,
    EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
        AND pg_get_constraintdef(k.oid) ~ ('\\m' || a.attname || $$ = ANY \\(ARRAY\\['$$)) AS is_word
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attgenerated = ''
  AND c.relname <> 'scheduler_repo_schema_version'
  AND a.atttypid IN ('text'::regtype, 'text[]'::regtype, 'varchar'::regtype, 'name'::regtype)
ORDER BY 1, 2
"""
_DROP_CHECKS = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT conrelid::regclass AS place, conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') AND conparentid = 0
        ORDER BY contype DESC
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', found.place, found.conname);
    END LOOP;
END $$;
SET session_replication_role = replica;
SET scheduler_repo.keeps_changes = 'on'
"""
# An owner's id in a text column may be a UUID, which must stay one to be found.
_IS_UUID = "'^[0-9a-f]{8}-'"


async def word_columns(database: Database) -> list[tuple[str, str]]:
    """The columns, with their tables, that hold one of a few words."""
    async with database.driver_as(ADMIN) as driver:
        return [(row[0], row[1]) for row in await driver.fetch(_TEXT_COLUMNS) if row[3]]


async def make_hostile(database: Database, *, groups: bool) -> None:
    """Add HOSTILE to every text of every table but words; to the names of groups only if ``groups``."""
    async with database.driver_as(ADMIN) as driver:
        columns = await driver.fetch(_TEXT_COLUMNS)
        await driver.execute(_DROP_CHECKS)
        for table, column, is_array, is_word in columns:
            is_group = "scaling_group" in column or (table, column) == ("scaling_groups", "name")
            if is_word or (is_group and not groups):
                continue
            if is_array:
                changed = f"ARRAY(SELECT each || $1::text FROM unnest({column}) AS each)"
                await driver.execute(f"UPDATE {table} SET {column} = {changed}", HOSTILE)
            else:
                changed = f"{column} = {column} || $1::text"
                await driver.execute(f"UPDATE {table} SET {changed} WHERE {column} !~ {_IS_UUID}", HOSTILE)
        # So that the audit has something to say of every agent.
        await driver.execute("UPDATE agents SET container_count = container_count + 1")
        await driver.execute("UPDATE agent_slots SET occupied = occupied + 1")


async def spoil_word(database: Database, table: str, column: str) -> None:
    """Make one word of one column hostile."""
    async with database.driver_as(ADMIN) as driver:
        await driver.execute(_DROP_CHECKS)
        await driver.execute(f"UPDATE {table} SET {column} = $1", HOSTILE)


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""

    def walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                yield from walk((*words, name), each)
        else:
            yield words, command

    yield from walk((), command_line)


def assert_harmless(text: str) -> None:
    """Fail if a terminal would obey a part of the text, or a line of it is not the command's own."""
    raw = sorted({char for char in text if not char.isprintable() and char != "\n"})
    assert raw == [], text
    assert_nothing_forged(text)


def assert_nothing_forged(text: str) -> None:
    """Fail if a line looks like an error that is none."""
    assert not re.search(rf"^\s*{FORGED}", text, re.MULTILINE), text

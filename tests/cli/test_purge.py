"""``scheduler-repo db purge``."""

import asyncio
import fcntl
import os
import re
import resource
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from scheduler_repo.cli.output.archive import open_archive
from scheduler_repo.entities.retention import ArchivedSession
from tests.support.command import Command, CommandHere
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database
from tests.support.old_rows import add_agent_history, add_finished, add_operations, existing
from tests.support.rows import insert_all
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, GROUP, PROJECT, USER, session_id
from tests.support.waiting import PATIENCE

OLD = range(100, 112)
SEVEN_LINES = 12_000  # bytes
NUMBERS_PURGED = "12 sessions with 24 kernels, 4 rows of agent history, 7 operations"


class WithOldRows:
    """What the tests of a purge begin with."""

    @pytest.fixture
    async def database(self, migrated_database: Database) -> Database:
        """Twelve old sessions beside a live one, old operations and an agent's old history."""
        await insert_all(migrated_database)
        async with migrated_database.driver_as(OWNER) as driver:
            await driver.execute(
                f"""
                INSERT INTO domains (name) VALUES ('{DOMAIN}') ON CONFLICT DO NOTHING;
                INSERT INTO projects (id, name, domain_name) VALUES ('{PROJECT}', 'speech', '{DOMAIN}');
                INSERT INTO users (id, name, domain_name) VALUES ('{USER}', 'bob', '{DOMAIN}');
                INSERT INTO keypairs (access_key, user_id) VALUES ('{ACCESS_KEY}', '{USER}');
                INSERT INTO scaling_groups (name) VALUES ('{GROUP}') ON CONFLICT DO NOTHING
                """
            )
            await add_finished(driver, OLD)
            await add_operations(driver, 7)
            await add_agent_history(driver, "a1", 5)
        return migrated_database

    @pytest.fixture
    def arguments(self, database: Database) -> tuple[str, ...]:
        return ("db", "purge", "--older-than", "30d", "--database-url", database.url_as(SCHEDULER))


class TestPurge(WithOldRows):
    def test_what_is_old_goes_and_is_counted(
        self, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        # When
        first, second = command_here.run(*arguments, "--batch-size", "5"), command_here.run(*arguments)
        # Then
        assert (first.code, first.errors) == (0, "")
        assert first.output == f"purged {NUMBERS_PURGED}, in 7 batches\n"
        assert second.output.startswith("purged 0 sessions with 0 kernels, 0 rows")

    async def test_what_stays_is_said(
        self, command: Command, database: Database, arguments: tuple[str, ...]
    ) -> None:
        # Given
        async with database.driver_as(OWNER) as driver, database.driver_as(OWNER) as other:
            await driver.execute(
                "INSERT INTO session_dependencies SELECT id, $1 FROM sessions WHERE status = 'PENDING' LIMIT 1",
                session_id(100),
            )
            async with other.transaction():
                await other.execute("SELECT FROM sessions WHERE id = $1 FOR UPDATE", session_id(101))
                # When
                ended = await asyncio.to_thread(command.run, *arguments)
            # Then
            assert {session_id(100), session_id(101)} <= await existing(driver)
        first, *others = ended.output.splitlines()
        assert first.startswith("purged 10 sessions with 20 kernels")
        assert others == [
            "kept: 1 session that unfinished sessions depend on",
            "skipped: 1 session that another transaction holds; the next purge takes what is left",
        ]

    def test_a_dry_run_says_the_same_and_changes_nothing(
        self, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        for _ in range(2):
            ended = command_here.run(*arguments, "--dry-run")
            assert (ended.code, ended.errors) == (0, "")
            assert ended.output == f"would purge {NUMBERS_PURGED}; nothing was changed\n"
        assert command_here.run(*arguments).output.startswith(f"purged {NUMBERS_PURGED}")

    def test_a_terminal_sees_how_far_it_is(self, command: Command, arguments: tuple[str, ...]) -> None:
        shown = command.run_on_terminal(*arguments, "--batch-size", "1")
        assert shown.code == 0
        assert "purging" in shown.output or shown.output.count("purged") > 1
        assert re.search(r"purged 12 sessions with 24 kernels.*, in \d+ batches", shown.output)

    def test_a_reader_may_count_but_not_purge(self, command_here: CommandHere, database: Database) -> None:
        arguments = ("db", "purge", "--older-than", "4w", "--database-url", database.url_as(READER))
        assert command_here.run(*arguments, "--dry-run").code == 0
        ended = command_here.run(*arguments)
        assert ended.code == 1
        assert ended.error_line.endswith("; purge as the role scheduler_repo_scheduler")


class TestInterruption(WithOldRows):
    async def test_ctrl_c_says_what_has_gone(
        self, command: Command, database: Database, arguments: tuple[str, ...]
    ) -> None:
        # Given many batches, each of which is announced when it is committed
        many = range(1_000, 6_000)
        gone = asyncio.Event()
        async with database.driver_as(ADMIN) as driver:
            await add_finished(driver, many)
            await driver.execute(
                "CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN NOTIFY gone; RETURN NULL; END $$;"
                "CREATE TRIGGER announce AFTER DELETE ON sessions EXECUTE FUNCTION announce()"
            )
            before = len(await existing(driver))
            await driver.add_listener("gone", lambda *_: gone.set())
            # When
            process = command.start(*arguments, "--batch-size", "1")
            await asyncio.wait_for(gone.wait(), PATIENCE)
            process.send_signal(signal.SIGINT)
            output, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
            # Then
            left = len(await existing(driver))
        assert (process.returncode, output) == (130, "")
        match = re.fullmatch(
            r"error: stopped by Ctrl-C; purged before: ([\d,]+) sessions? with .*; the batch in progress was"
            r" purged wholly or not at all, run it again\n",
            errors,
        )
        assert match is not None, errors
        said = int(match[1].replace(",", ""))
        assert said <= before - left <= said + 1
        assert left > 1


class TestUsage:
    @pytest.mark.parametrize(
        "duration", ["30", "0d", "-5d", "", "1.5h", "d", "30 d", "3y", "30D", "٣d", "1d12h", "99999999999d"]
    )
    def test_what_is_no_duration_is_refused(self, command_here: CommandHere, duration: str) -> None:
        ended = command_here.run("db", "purge", "--older-than", duration, "--database-url", "postgresql:///x")
        assert ended.code == 2
        assert f"{duration!r} is no duration; give a whole number above 0 with its unit" in ended.error_line

    @pytest.mark.parametrize(
        ("arguments", "code", "expected"),
        [
            ([], 2, "Missing option '--older-than'"),
            (["--older-than", "999999999w"], 2, "is too long"),
            (["--older-than", "30d", "--batch-size", "0"], 2, "--batch-size"),
            (["--older-than", "30d", "--batch-size", "10001"], 2, "--batch-size"),
            (["--older-than", "30d", "--dry-run", "--archive", "x"], 2, "leave out --archive"),
            (["--older-than", "30d", "--archive", "/"], 2, "is a directory"),
            (["--older-than", "59m"], 1, "the least is 1:00:00"),
            (["--older-than", "5215w"], 1, "the most is 36500 days"),
        ],
    )
    def test_wrong_usage_is_named_before_anything_is_asked(
        self, command_here: CommandHere, arguments: list[str], code: int, expected: str
    ) -> None:
        ended = command_here.run("db", "purge", *arguments, "--database-url", "postgresql://127.0.0.1:1/x")
        assert ended.code == code
        assert expected in ended.error_line

    @pytest.mark.parametrize("duration", ["3600s", "60m", "1h", "1d", "1w"])
    def test_every_unit_is_taken(self, command_here: CommandHere, duration: str) -> None:
        ended = command_here.run(
            "db", "purge", "--older-than", duration, "--database-url", "postgresql://127.0.0.1:1/x"
        )
        assert "see that a PostgreSQL server listens there" in ended.error_line


class TestArchive(WithOldRows):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions.jsonl"

    @pytest.fixture
    def archiving(self, arguments: tuple[str, ...], path: Path) -> tuple[str, ...]:
        return (*arguments, "--archive", str(path))

    @contextmanager
    def files_limited_to(self, size: int) -> Iterator[None]:
        """As on a disk that is full."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_each_session_is_a_line(
        self, command_here: CommandHere, archiving: tuple[str, ...], path: Path
    ) -> None:
        # Given a file with a line of an earlier purge
        path.write_text("{}\n")
        # When
        ended = command_here.run(*archiving, "--batch-size", "5")
        # Then
        assert (ended.code, ended.errors) == (0, "")
        earlier, *lines = path.read_bytes().splitlines()
        assert earlier == b"{}"
        archived = [msgspec.json.decode(line, type=ArchivedSession) for line in lines]
        assert [each.session_id for each in archived] == [session_id(number) for number in OLD]
        assert all(len(each.kernels) == len(each.history) == 2 for each in archived)

    def test_others_cannot_read_a_new_one(
        self, command_here: CommandHere, archiving: tuple[str, ...], path: Path
    ) -> None:
        assert command_here.run(*archiving).code == 0
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_full_disk_loses_nothing_and_leaves_whole_lines(
        self, command_here: CommandHere, arguments: tuple[str, ...], archiving: tuple[str, ...], path: Path
    ) -> None:
        # Given room for the first batch and a part of the second
        with self.files_limited_to(SEVEN_LINES):
            # When
            ended = command_here.run(*archiving, "--batch-size", "5")
        # Then
        assert ended.code == 1
        assert ended.error_line.startswith(f"error: {path}: File too large; purged before: 5 sessions with")
        lines = path.read_bytes().splitlines(keepends=True)
        assert [line[-1:] for line in lines] == [b"\n"] * 5
        # and when there is room again
        assert command_here.run(*archiving).output.startswith("purged 7 sessions")
        assert len(path.read_bytes().splitlines()) == len(OLD)

    def test_the_lines_are_on_disk_before_their_sessions_are_gone(
        self, command: Command, arguments: tuple[str, ...], archiving: tuple[str, ...], path: Path
    ) -> None:
        # Given a purge that is killed at some moment, each time at a later line
        for lines in (1, 4, 8):
            process = command.start(*archiving, "--batch-size", "1")
            while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < lines):
                # Nothing announces a line.
                time.sleep(0.001)
            process.kill()
            process.communicate()
        # When
        left = command.run(*arguments, "--dry-run").output
        archived = [line for line in path.read_bytes().splitlines() if line]
        # Then those that are gone are all in it
        match = re.match(r"would purge (\d+) sessions", left)
        assert match is not None
        ids = {msgspec.json.decode(line, type=ArchivedSession).session_id for line in archived}
        assert ids >= {session_id(number) for number in OLD[: len(OLD) - int(match[1])]}

    def test_a_last_line_that_is_cut_off_anywhere_is_removed(
        self, command_here: CommandHere, arguments: tuple[str, ...], archiving: tuple[str, ...], path: Path
    ) -> None:
        # Given a whole archive, a line of which is torn at every place
        command_here.run(*archiving)
        whole = path.read_bytes()
        assert whole.count(b"\n") == len(OLD)
        line = whole.splitlines()[-1]
        for torn in (*(line[:length] for length in range(1, len(line), 97)), line, b"\0" * 5_000):
            path.write_bytes(whole + torn)
            # When
            ended = command_here.run(*archiving)
            # Then
            assert ended.code == 0
            assert f"{path}: removed the last line, {len(torn)} bytes" in ended.errors
            assert path.read_bytes() == whole
        # and without a line before it
        path.write_bytes(line[:7])
        assert command_here.run(*archiving).code == 0
        assert path.read_bytes() == b""

    @pytest.mark.parametrize("last", [b"a poem", b'{"id":1}', b"\0poem"])
    def test_a_last_line_of_something_else_is_left_alone(
        self, command_here: CommandHere, archiving: tuple[str, ...], path: Path, last: bytes
    ) -> None:
        for before in (b"", b"first\n"):
            path.write_bytes(before + last)
            ended = command_here.run(*archiving)
            assert ended.code == 1
            assert "does not end with a whole line" in ended.error_line
            assert path.read_bytes() == before + last

    def test_a_last_line_without_end_is_not_read_into_memory(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(b"whole\n")
            file.truncate(2**27)
        tracemalloc.start()
        try:
            with open_archive(path) as archive:
                assert archive is not None
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 2**20
        assert path.read_bytes() == b"whole\n"

    def test_two_purges_do_not_share_a_file(
        self, command_here: CommandHere, archiving: tuple[str, ...], path: Path
    ) -> None:
        with path.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            ended = command_here.run(*archiving)
        assert ended.code == 1
        assert f"another purge archives to {path}" in ended.error_line

    def test_what_is_no_file_on_a_disk_is_refused(
        self, command_here: CommandHere, arguments: tuple[str, ...], path: Path
    ) -> None:
        os.mkfifo(path)
        for given in (str(path), "/dev/full"):
            ended = command_here.run(*arguments, "--archive", given)
            assert ended.code == 1
            assert f"{given} is not a regular file" in ended.error_line

    def test_a_folder_that_is_not_there_is_named(
        self, command_here: CommandHere, arguments: tuple[str, ...], tmp_path: Path
    ) -> None:
        ended = command_here.run(*arguments, "--archive", str(tmp_path / "none" / "file"))
        assert ended.code == 1
        assert ended.error_line == f"error: No such file or directory: {tmp_path}/none/file"

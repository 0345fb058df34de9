"""A password stays out of the process list, the errors and the tracebacks."""

from pathlib import Path

import psutil
import pytest

from scheduler_repo.cli.process.failure import redact
from scheduler_repo.cli.process.secret_arguments import take_secret_urls
from tests.support.command import Command, CommandHere
from tests.support.tcp_server import say_nothing, server_that

CLOSED = "postgresql://planner:hunter2@127.0.0.1/d"
OPEN = "postgresql://planner@127.0.0.1/d"


class TestProcessList:
    @pytest.mark.parametrize("form", ["two words", "one word"])
    def test_a_password_is_moved_out_of_sight(self, command: Command, form: str) -> None:
        # Given a server that keeps the command waiting, and so looked at
        with server_that(say_nothing) as port:
            url = f"postgresql://u:hunter2@127.0.0.1:{port}/d"
            option = ["--database-url", url] if form == "two words" else [f"--database-url={url}"]

            # When
            process = command.start("db", "current", *option)
            while not psutil.Process(process.pid).net_connections("tcp"):
                assert process.poll() is None
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.kill()
            process.communicate()

        # Then
        assert b"hunter2" not in shown
        assert shown.split(b"\0")[-4:-1] == [b"scheduler_repo.cli", b"db", b"current"]


class TestTakeSecretUrls:
    def test_both_spellings_become_variables(self) -> None:
        hidden = take_secret_urls(["demo", f"--database-url={CLOSED}", "--redis-url", OPEN, "--keep"])
        assert hidden is not None
        assert hidden.arguments == ["demo", "--keep"]
        assert hidden.variables == {
            "SCHEDULER_REPO_DATABASE_URL": CLOSED,
            "SCHEDULER_REPO_REDIS_URL": OPEN,
        }

    def test_the_last_of_several_holds_as_it_would_have(self) -> None:
        hidden = take_secret_urls(["--database-url", CLOSED, "--database-url", OPEN])
        assert hidden is not None
        assert hidden.variables == {"SCHEDULER_REPO_DATABASE_URL": OPEN}

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["demo", "--keep"],
            ["db", "current", "--database-url", OPEN],
            ["db", "current", "--database-url"],
            ["snapshot", "--", "--database-url", CLOSED],
        ],
    )
    def test_nothing_is_moved_where_nothing_is_secret(self, arguments: list[str]) -> None:
        assert take_secret_urls(arguments) is None

    @pytest.mark.parametrize(
        "url", [f"{OPEN}?password=x", "host=h password=x", "redis://:hunter2@h", "postgresql://u:p/w@h"]
    )
    def test_whatever_may_hold_a_secret_is_moved(self, url: str) -> None:
        assert take_secret_urls(["--database-url", url]) is not None


class TestErrors:
    def test_a_url_in_the_wrong_place_is_shown_without_its_password(self, command_here: CommandHere) -> None:
        for arguments in (
            ["db", "current", CLOSED],
            ["snapshot", CLOSED],
            ["demo", CLOSED],
        ):
            ended = command_here.run(*arguments)
            assert ended.code == 2
            assert "hunter2" not in ended.error_line

    def test_a_traceback_does_not_show_it(self, command: Command) -> None:
        ended = command.run(
            "db", "current", "--debug", "--database-url", "postgresql://u:hunter2@127.0.0.1:1/d"
        )
        assert ended.code == 1
        assert "Traceback" in ended.errors
        assert "hunter2" not in ended.errors
        assert ended.errors.splitlines()[-1].startswith("error: ")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("cannot use postgresql://u:p@w@h/d!", "cannot use postgresql://u@h/d!"),
            (
                "redis://:pw@h and postgresql://h/d?x=1&password=pw",
                "redis://@h and postgresql://h/d",
            ),
            ("a name \x1b[31m", "a name \\x1b[31m"),
        ],
    )
    def test_redacted(self, text: str, expected: str) -> None:
        assert redact(text) == expected

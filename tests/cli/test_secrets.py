"""A password stays out of the process list, the errors and the tracebacks."""

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import msgspec
import pytest

from scheduler_repo.cli.process.failure import redact
from scheduler_repo.cli.process.secret_arguments import take_secret_urls
from scheduler_repo.settings import CacheSettings, DatabaseSettings
from tests.cli.hostile_texts import commands
from tests.support.command import Command, CommandHere
from tests.support.tcp_server import say_nothing, server_that

CLOSED = "postgresql://planner:hunter2@127.0.0.1/d"
OPEN = "postgresql://planner@127.0.0.1/d"


class TestProcessList:
    def test_passwords_are_moved_out_of_sight(self, loaded_command: Command) -> None:
        # Given a server that keeps the command waiting, and so looked at
        asked = threading.Event()

        def keep_waiting(client: socket.socket) -> None:
            asked.set()
            say_nothing(client)

        with server_that(keep_waiting) as port:
            # and options in two words and in one
            host = f"hunter2@127.0.0.1:{port}"
            options = ["--database-url", f"postgresql://u:{host}/d", f"--redis-url=redis://:{host}"]

            # When
            process = loaded_command.start("snapshot", "group", *options)
            assert asked.wait(30), process.communicate()
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.kill()
            process.communicate()

        # Then
        assert b"hunter2" not in shown
        assert shown.split(b"\0")[-4:-1] == [b"scheduler_repo.cli", b"snapshot", b"group"]


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


SECRET = "S3CRET"  # noqa: S105 # it is what is looked for
CLOSED_PORT = "postgresql://127.0.0.1:1/d"
SECRET_URLS = (
    f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    f"postgresql://127.0.0.1:1/d?user=a@b&password={SECRET}",
    f"postgresql://127.0.0.1:1/d?user=u&password={SECRET}",
    f"postgresql://127.0.0.1:1/d?sslpassword={SECRET}",
    f"postgresql://127.0.0.1:1/d?passfile=/no/{SECRET}",
    f"postgresql://u:a//b{SECRET}'c d@127.0.0.1:1/d",
    f"postgresql://u:12?{SECRET}@127.0.0.1:1/d",
    f"postgresql://u%3A{SECRET}@127.0.0.1:1/d",
    f"postgresql://u:{SECRET}@h1:1,h2:port/d",
    f"postgresql://u:{'x' * 70}{SECRET}@127.0.0.1:1/d",
    f"postgresql:///d?host=/no/such&password={SECRET}",
    f"postgresql%3A%2F%2Fu%3A{SECRET}%40h",
    f"redis://:{SECRET}@127.0.0.1:1/0",
    f"redis://{SECRET}@127.0.0.1:1",
    f"redis://127.0.0.1:1?password={SECRET}",
    f"redis://127.0.0.1:1/{SECRET}",
    f"unix://u:{SECRET}@/no/such",
    f"http://u:{SECRET}@h",
    f"u:{SECRET}@127.0.0.1/d",
    f"host=h password={SECRET}",
    f"host=h password = '{SECRET}'",
)
_COMMANDS = dict(commands())


class TestEveryOption:
    """A URL, in whatever place of whatever command it was given."""

    @pytest.mark.parametrize("every_url", [False, pytest.param(True, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
    def test_no_option_shows_it(
        self, command_here: CommandHere, words: tuple[str, ...], every_url: bool
    ) -> None:
        """Each option in each way, with every URL, or with the next few of them in turn."""
        turn = itertools.cycle(SECRET_URLS)
        for parameter in _COMMANDS[words].params:
            name = parameter.opts[0]
            for url in SECRET_URLS if every_url else itertools.islice(turn, 3):
                for given in self._ways(words, parameter, name, url):
                    ended = command_here.run(*words, *given)
                    assert ended.code in (1, 2), (given, ended)
                    assert SECRET not in ended.output + ended.errors, (given, ended)

    @staticmethod
    def _ways(
        words: tuple[str, ...], parameter: click.Parameter, name: str, url: str
    ) -> Iterator[tuple[str, ...]]:
        closed = () if name == "--database-url" else ("--database-url", CLOSED_PORT)
        if words == ("metrics", "dashboard"):
            closed = ()
        if not isinstance(parameter, click.Option):
            yield (url, *closed)
            return
        if parameter.is_flag:
            yield (f"{name}={url}", *closed)
            return
        required = ("--older-than", "30d") if words == ("db", "purge") and name != "--older-than" else ()
        arguments = {"snapshot": ("batch",), "explain": ("6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11",)}
        argument = arguments.get(words[0], ())
        for option in ((name, url), (f"{name}={url}",), (f"{name}x={url}",)):
            yield (*argument, *required, *option, *closed)
        yield (*argument, *required, name, url, *closed, "--debug")

    @pytest.mark.parametrize("words", sorted({words[:-1] for words in _COMMANDS}), ids=" ".join)
    @pytest.mark.parametrize("url", SECRET_URLS)
    def test_no_group_of_commands_shows_it(
        self, command_here: CommandHere, words: tuple[str, ...], url: str
    ) -> None:
        for given in ((url,), (f"--bogus={url}",), (f"--debug={url}",), ("current", url)):
            ended = command_here.run(*words, *given)
            assert ended.code == 2
            assert SECRET not in ended.output + ended.errors

    @pytest.mark.parametrize("url", SECRET_URLS)
    def test_no_variable_shows_it(self, command_here: CommandHere, url: str) -> None:
        fields = [each.name for each in msgspec.structs.fields(DatabaseSettings)]
        fields += [f"redis_{each.name}" for each in msgspec.structs.fields(CacheSettings)]
        for field in (*fields, "database_url", "bogus"):
            name = f"SCHEDULER_REPO_{field.upper()}"
            for words in (("db", "current"), ("snapshot", "batch")):
                closed = {} if name.endswith("_URL") else {"SCHEDULER_REPO_DATABASE_URL": CLOSED_PORT}
                ended = command_here.run(*words, "--debug", **{name: url}, **closed)
                assert ended.code in (1, 2), (name, ended)
                assert SECRET not in ended.output + ended.errors, (name, ended)

    def test_no_signing_key_is_shown(self, command_here: CommandHere) -> None:
        for keys in (SECRET, f"{SECRET * 8}, {SECRET * 9}"):
            variables = {
                "SCHEDULER_REPO_REDIS_SIGNING_KEYS": keys,
                "SCHEDULER_REPO_REDIS_URL": "redis://127.0.0.1:1",
            }
            ended = command_here.run(
                "snapshot", SECRET * 8, "--database-url", CLOSED_PORT, "--debug", **variables
            )
            assert ended.code in (1, 2)
            assert keys not in ended.output + ended.errors
            assert SECRET * 8 not in ended.output + ended.errors

    @pytest.mark.parametrize("url", SECRET_URLS)
    def test_an_unforeseen_error_does_not_show_it(
        self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        """Whatever words a driver finds for it."""

        def fail(*_: object) -> None:
            rest = url.partition("://")[2]
            raise OSError(f"cannot use {url!r}: {unquote(url)}, {rest} or {rest.encode()!r}") from ValueError(
                url
            )

        monkeypatch.setattr(DatabaseSettings, "sqlalchemy_url", fail)
        ended = command_here.run("db", "current", "--debug", "--database-url", url)
        assert ended.code == 1
        assert SECRET not in ended.output + ended.errors

"""Databases that are none: refused in words that say where, and within a bounded time."""

from time import monotonic
from typing import Optional

import pytest

from tests.support.command import CommandHere
from tests.support.observation import refused_port
from tests.support.tcp_server import (
    Answer,
    answer_as_a_web_server,
    close_at_once,
    refuse_tls_and_talk_nonsense,
    say_nothing,
    server_that,
)
from tests.support.waiting import PATIENCE


class TestNotPostgres:
    @pytest.mark.parametrize(
        ("answer", "connect_seconds"),
        [
            pytest.param(say_nothing, None, marks=pytest.mark.slow),
            (say_nothing, 0.2),
            (close_at_once, None),
            (answer_as_a_web_server, None),
            (refuse_tls_and_talk_nonsense, 0.2),
        ],
    )
    def test_something_else_that_answers_is_named(
        self, command_here: CommandHere, answer: Answer, connect_seconds: Optional[float]
    ) -> None:
        # Given the usual bound, or another one
        variables = {} if connect_seconds is None else {"SCHEDULER_REPO_CONNECT_TIMEOUT": str(connect_seconds)}

        # When
        started = monotonic()
        with server_that(answer) as port:
            url = f"postgresql://u:hunter2@127.0.0.1:{port}/d"
            ended = command_here.run("db", "current", "--database-url", url, **variables)

        # Then
        assert monotonic() - started < PATIENCE
        assert ended.code == 1
        assert f"postgresql://u@127.0.0.1:{port}/d" in ended.error_line
        assert "see that a PostgreSQL server listens there" in ended.error_line

    def test_a_port_where_nobody_listens_is_named(self, command_here: CommandHere) -> None:
        with refused_port() as port:
            ended = command_here.run("demo", "--database-url", f"postgresql://u@127.0.0.1:{port}/d")
        assert ended.code == 1
        assert f"127.0.0.1:{port}" in ended.error_line
        assert "refused" in ended.error_line

    def test_a_socket_folder_that_does_not_exist_is_named(self, command_here: CommandHere) -> None:
        ended = command_here.run("demo", "--database-url", "postgresql://u@/d?host=/no/such/folder")
        assert ended.code == 1
        assert "/no/such/folder" in ended.error_line

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("mysql://u:hunter2@h/d", "the database must be PostgreSQL, the URL says mysql"),
            ("hunter2", "(not a URL); write postgresql://"),
            ("postgresql://u:hunter2@h:port/d", "the database URL cannot be read: postgresql://u@h:port/d"),
            ("postgresql://u:hunt@er2@h/d", "postgresql://u@h/d: one of @ / ? # stands before the last @"),
            ("postgresql://u:hunter2@h/d?bogus=1", "has the option bogus"),
            ("postgresql://u:hunter2@h/d?sslmode=maybe", "`sslmode` parameter must be one of"),
        ],
    )
    def test_a_url_that_is_none_is_refused(self, command_here: CommandHere, url: str, expected: str) -> None:
        ended = command_here.run("db", "current", "--database-url", url)
        assert ended.code == 2
        assert expected in ended.error_line
        assert "hunter2" not in ended.errors
        assert "er2@" not in ended.errors

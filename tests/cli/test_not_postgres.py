"""Databases that are none: refused in words that say where, and within a bounded time."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Optional

import pytest

from tests.support.command import Command, CommandHere
from tests.support.observation import free_port

CONNECT_SECONDS = 5

Answer = Callable[[socket.socket], None]


def say_nothing(client: socket.socket) -> None:
    client.recv(1)  # and then until the other side gives up
    client.recv(65536)
    client.recv(65536)


def close_at_once(client: socket.socket) -> None:
    client.close()


def answer_as_a_web_server(client: socket.socket) -> None:
    client.recv(64)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def refuse_tls_and_talk_nonsense(client: socket.socket) -> None:
    client.recv(8)
    client.sendall(b"N")
    client.recv(1024)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    client.recv(1024)


@contextmanager
def server_that(answer: Answer) -> Iterator[int]:
    """A TCP server on loopback that treats every caller alike."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # the listener was closed
                    return
                threading.Thread(target=treat, args=(client,), daemon=True).start()

        def treat(client: socket.socket) -> None:
            with client:
                try:
                    answer(client)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class TestNotPostgres:
    @pytest.mark.parametrize(
        ("answer", "connect_seconds"),
        [
            pytest.param(say_nothing, None, marks=pytest.mark.slow),
            (say_nothing, 1),
            (close_at_once, None),
            (answer_as_a_web_server, None),
            (refuse_tls_and_talk_nonsense, 1),
        ],
    )
    def test_something_else_that_answers_is_named(
        self, command: Command, answer: Answer, connect_seconds: Optional[int]
    ) -> None:
        # Given the usual bound, or another one
        variables = {} if connect_seconds is None else {"SCHEDULER_REPO_CONNECT_TIMEOUT": str(connect_seconds)}

        # When
        started = monotonic()
        with server_that(answer) as port:
            url = f"postgresql://u:hunter2@127.0.0.1:{port}/d"
            ended = command.run("db", "current", "--database-url", url, **variables)

        # Then
        assert monotonic() - started < (connect_seconds or CONNECT_SECONDS) + 5
        assert ended.code == 1
        assert f"postgresql://u@127.0.0.1:{port}/d" in ended.error_line
        assert "see that a PostgreSQL server listens there" in ended.error_line

    def test_a_port_where_nobody_listens_is_named(self, command: Command) -> None:
        port = free_port()
        ended = command.run("demo", "--database-url", f"postgresql://u@127.0.0.1:{port}/d")
        assert ended.code == 1
        assert f"127.0.0.1:{port}" in ended.error_line
        assert "refused" in ended.error_line

    def test_a_socket_folder_that_does_not_exist_is_named(self, command: Command) -> None:
        ended = command.run("demo", "--database-url", "postgresql://u@/d?host=/no/such/folder")
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
        assert ended.code == 1
        assert expected in ended.error_line
        assert "hunter2" not in ended.errors
        assert "er2@" not in ended.errors

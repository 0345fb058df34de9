"""TCP servers that are no PostgreSQL."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

"""What clients raise for a server that is not reached is tried again; their mistakes are not."""

import asyncio
import errno
import socket
import ssl
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Optional

import pytest
import redis.exceptions

from scheduler_repo import errors
from scheduler_repo.errors import BusinessError, SchedulerRepoError
from scheduler_repo.resilience.clients import passes_by_itself
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.policies.retry import BackoffStrategy, RetryArgs, RetryPolicy
from scheduler_repo.resilience.resilience import Resilience

READ, IDEMPOTENT, WRITE = OperationKind.READ, OperationKind.IDEMPOTENT_WRITE, OperationKind.WRITE


def _foreign(module: str, *names: str, base: type[Exception] = Exception) -> type[Exception]:
    """A class of a package that is not installed: ``names`` from the root down."""
    made = base
    for name in names:
        made = type(name, (made,), {"__module__": module})
    return made


_HTTPX = ("HTTPError", "RequestError", "TransportError")
_AIOHTTP = ("aiohttp.client_exceptions", "ClientError", "ClientConnectionError")

# Nothing was sent.
NOT_SENT: list[Exception] = [
    ConnectionRefusedError(111, "Connection refused"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    _foreign("httpx", *_HTTPX, "NetworkError", "ConnectError")("no"),
    _foreign("httpx", *_HTTPX, "TimeoutException", "ConnectTimeout")("no"),
    _foreign(*_AIOHTTP, "ClientOSError", "ClientConnectorError", "ClientConnectorDNSError", base=OSError)("no"),
    _foreign("requests.exceptions", "RequestException", "ConnectTimeout", base=OSError)("no"),
    redis.exceptions.BusyLoadingError("loading"),
]
# Nobody says what became of it.
LOST: list[Exception] = [
    TimeoutError(),
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionAbortedError(),
    BrokenPipeError(32, "Broken pipe"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    ExceptionGroup("of two agents", [TimeoutError(), ConnectionResetError(104, "Connection reset by peer")]),
    asyncio.IncompleteReadError(b"", 10),
    ssl.SSLEOFError("EOF occurred in violation of protocol"),
    _foreign("httpx", *_HTTPX, "NetworkError", "ReadError")("no"),
    _foreign("httpx", *_HTTPX, "TimeoutException", "ReadTimeout")("no"),
    _foreign("httpx", *_HTTPX, "ProtocolError", "RemoteProtocolError")("no"),
    _foreign(*_AIOHTTP, "ServerConnectionError", "ServerDisconnectedError")("no"),
    _foreign("aiohttp.client_exceptions", "ClientError", "ClientPayloadError")("no"),
    _foreign("requests.exceptions", "RequestException", "ConnectionError", base=OSError)("no"),
    _foreign("requests.exceptions", "RequestException", "Timeout", "ReadTimeout", base=OSError)("no"),
    redis.exceptions.ConnectionError("Connection closed by server."),
    redis.exceptions.TimeoutError("Timeout reading from socket"),
]
# Again would be the same again.
LASTING: list[Exception] = [
    FileNotFoundError(2, "No such file or directory", "settings.toml"),
    PermissionError(13, "Permission denied"),
    OSError(errno.ENOSPC, "No space left on device"),
    ssl.SSLCertVerificationError("self-signed certificate"),
    ValueError("a mistake"),
    ExceptionGroup(
        "of two agents", [ConnectionRefusedError(111, "Connection refused"), ValueError("a mistake")]
    ),
    _foreign("httpx", *_HTTPX, "UnsupportedProtocol")("no"),
    _foreign("httpx", *_HTTPX, "ProtocolError", "LocalProtocolError")("no"),
    _foreign("httpx", "InvalidURL")("no"),
    _foreign(*_AIOHTTP, "ClientOSError", "ClientSSLError", base=OSError)("no"),
    _foreign("aiohttp.client_exceptions", "ClientError", "InvalidURL", base=ValueError)("no"),
    _foreign("requests.exceptions", "RequestException", "ConnectionError", "SSLError", base=OSError)("no"),
    _foreign("requests.exceptions", "RequestException", "MissingSchema", base=OSError)("no"),
    redis.exceptions.AuthenticationError("WRONGPASS"),
    redis.exceptions.ResponseError("WRONGTYPE"),
    redis.exceptions.DataError("of a mistake"),
    # Of another package: a name alone is nothing.
    _foreign("app.errors", "ConnectError")("no"),
]


class TestWhatPasses:
    @pytest.mark.parametrize(
        ("found", "kinds"),
        [(NOT_SENT, {READ, IDEMPOTENT, WRITE}), (LOST, {READ, IDEMPOTENT}), (LASTING, set())],
    )
    def test_by_class_and_kind(self, found: list[Exception], kinds: set[OperationKind]) -> None:
        for error in found:
            assert {kind for kind in OperationKind if passes_by_itself(error, kind)} == kinds, repr(error)

    def test_every_lost_connection_of_redis(self) -> None:
        """All but what says that the password is wrong."""
        lasting = (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError)
        kinds = [kind for kind in vars(redis.exceptions).values() if isinstance(kind, type)]
        lost = [kind for kind in kinds if issubclass(kind, redis.exceptions.ConnectionError)]
        assert len(lost) > 3
        for kind in lost:
            assert passes_by_itself(kind("lost"), READ) != issubclass(kind, lasting), kind

    @pytest.mark.parametrize(
        "error",
        [
            _foreign("httpx", "HTTPError", "HTTPStatusError"),
            _foreign("requests.exceptions", "RequestException", "HTTPError", base=OSError),
        ],
    )
    def test_answers_of_an_overloaded_server(self, error: type[Exception]) -> None:
        for status, passes in ((503, True), (429, True), (404, False), (500, False)):
            answer = error("no")
            vars(answer)["response"] = SimpleNamespace(status_code=status)
            assert passes_by_itself(answer, READ) is passes
            assert not passes_by_itself(answer, WRITE)

    def test_cause_of_an_error_of_ones_own(self) -> None:
        for cause in LOST:
            error = LookupError("the agent is gone")
            error.__cause__ = cause
            assert passes_by_itself(error, READ), repr(cause)

    def test_wrong_certificate_behind_a_lost_connection(self) -> None:
        error = _foreign("httpx", *_HTTPX, "NetworkError", "ConnectError")("no")
        error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
        assert not passes_by_itself(error, READ)

    def test_url_that_cannot_be_reached(self, unused_tcp_port: int) -> None:
        with pytest.raises(urllib.error.URLError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{unused_tcp_port}/")
        assert passes_by_itself(refused.value, READ)

    async def test_name_of_which_no_address_answers(
        self, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def two_addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, unused_tcp_port))
                for address in ("127.0.0.1", "127.0.0.2")
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
        with pytest.raises(OSError, match="Multiple") as refused:
            await asyncio.open_connection("agent.example", unused_tcp_port)
        assert passes_by_itself(refused.value, READ)
        assert not passes_by_itself(refused.value, WRITE)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_error_of_this_package_last_whatever_they_came_from(self, kind: OperationKind) -> None:
        for error_class in _every(BusinessError):
            error = error_class("no")
            error.__cause__ = TimeoutError()
            assert not passes_by_itself(error, kind), error_class


def _every(kind: type[SchedulerRepoError]) -> list[type[SchedulerRepoError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _every(child))]


class TestPolicy:
    async def _tries(
        self, error: Exception, kind: OperationKind, business: tuple[type[BaseException], ...] = ()
    ) -> int:
        """How often the agent client of the README asks an agent that fails with ``error``."""
        tries: list[Optional[Exception]] = []
        agent_client = Resilience(
            policies=[
                MetricPolicy(MetricArgs(domain=DomainType.CLIENT, layer="agent_client")),
                RetryPolicy(
                    RetryArgs(
                        max_retries=3,
                        retry_delay=0,
                        backoff_strategy=BackoffStrategy.EXPONENTIAL,
                        jitter=0,
                        non_retryable_exceptions=business,
                    )
                ),
            ]
        )

        @agent_client.apply(kind)
        async def ask_agent() -> None:
            tries.append(error)
            raise error

        with pytest.raises(type(error)):
            await ask_agent()
        return len(tries)

    async def test_client_of_agents_is_patient(self) -> None:
        for error in (*NOT_SENT, *LOST):
            assert await self._tries(error, READ) == 4, repr(error)
        for error in LASTING:
            assert await self._tries(error, READ) == 1, repr(error)

    async def test_business_errors_are_excepted_and_nothing_else(self) -> None:
        """As the specification has it: the root of what a retry cannot mend turns no other retry off."""
        for error in (*NOT_SENT, *LOST, errors.TransactionConflict("again"), errors.SchemaChanged("again")):
            assert await self._tries(error, READ, (BusinessError,)) == 4, repr(error)
        for kind in _every(SchedulerRepoError):
            if passes_by_itself(kind("no"), READ):
                assert not issubclass(kind, BusinessError)
        for kind in _every(BusinessError):
            assert await self._tries(kind("no"), READ, (BusinessError,)) == 1, kind

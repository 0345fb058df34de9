"""Which failures of clients pass by themselves: of agents, HTTP servers and Redis, by class, never by text.

Classes of packages that need not be installed are known by their names.
"""

import asyncio
import errno
import socket
import ssl
from typing import Final

from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.transient import is_transient, walk_causes

# Nothing was sent: no connection was made, or the server says that it does nothing now.
_NOT_SENT: Final = frozenset(
    {
        *("httpx.ConnectError", "httpx.ConnectTimeout", "httpx.PoolTimeout"),
        *("httpcore.ConnectError", "httpcore.ConnectTimeout", "httpcore.PoolTimeout"),
        *("aiohttp.ClientConnectorError", "aiohttp.ConnectionTimeoutError"),
        "requests.ConnectTimeout",
        *("urllib3.NewConnectionError", "urllib3.ConnectTimeoutError"),
        *("redis.BusyLoadingError", "redis.MaxConnectionsError"),
        *("redis.MasterDownError", "redis.ClusterDownError"),
        *("valkey.BusyLoadingError", "valkey.MaxConnectionsError"),
        *("valkey.MasterDownError", "valkey.ClusterDownError"),
    }
)
# No answer came, or not all of it; nobody says what became of the request.
_LOST: Final = frozenset(
    {
        *("httpx.TimeoutException", "httpx.NetworkError", "httpx.RemoteProtocolError", "httpx.ProxyError"),
        *("httpcore.TimeoutException", "httpcore.NetworkError", "httpcore.RemoteProtocolError"),
        *("aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError"),
        *("requests.ConnectionError", "requests.Timeout", "requests.ChunkedEncodingError"),
        *("urllib3.TimeoutError", "urllib3.ProtocolError", "urllib3.IncompleteRead"),
        "http.IncompleteRead",
        *("redis.ConnectionError", "redis.TimeoutError", "redis.TryAgainError"),
        *("valkey.ConnectionError", "valkey.TimeoutError", "valkey.TryAgainError"),
    }
)
_LOST_CLASSES: Final = (TimeoutError, ConnectionError, asyncio.IncompleteReadError, ssl.SSLEOFError)
_LOST_ERRNOS: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
# Again would be the same again: a wrong certificate or password.
_LASTING: Final = frozenset(
    {
        *("aiohttp.ClientSSLError", "aiohttp.ServerFingerprintMismatch"),
        *("requests.SSLError", "requests.InvalidProxyURL", "urllib3.SSLError"),
        *("redis.AuthenticationError", "redis.AuthorizationError"),
        *("valkey.AuthenticationError", "valkey.AuthorizationError"),
    }
)
# Answers of HTTP servers: too early, too many requests, a bad gateway, not available, no answer behind it.
_STATUSES: Final = frozenset({425, 429, 502, 503, 504})
_STATUS_ERRORS: Final = frozenset(
    {"httpx.HTTPStatusError", "aiohttp.ClientResponseError", "requests.HTTPError", "urllib.HTTPError"}
)


def passes_by_itself(error: BaseException, kind: OperationKind) -> bool:
    """Return whether a call of this kind that failed with ``error`` may be repeated, of whatever client.

    What is ``is_transient`` of a database, and: TimeoutError, ConnectionError, and what httpx, aiohttp,
    requests, urllib3, redis and valkey raise for a server that cannot be reached, does not answer, or is
    overloaded. A WRITE is repeated only if nothing was sent. A group of errors passes if each of it does.
    """
    return is_transient(error, kind) or _passes_for_client(error, kind)


def _passes_for_client(error: BaseException, kind: OperationKind) -> bool:
    if isinstance(error, SchedulerRepoError):
        return False
    causes = [*walk_causes(error)]
    group = next((cause for cause in causes if isinstance(cause, BaseExceptionGroup)), None)
    if group is not None:
        return all(passes_by_itself(each, kind) for each in group.exceptions)
    # What urllib raises says why there, and is raised from nothing.
    reasons = [getattr(cause, "reason", None) for cause in causes]
    causes.extend(reason for reason in reasons if isinstance(reason, BaseException))
    names = {
        f"{parent.__module__.partition('.')[0]}.{parent.__name__}"
        for cause in causes
        for parent in type(cause).__mro__
    }
    if names & _LASTING or any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return False
    if names & _NOT_SENT or any(_is_unresolved_for_now(cause) for cause in causes):
        return True
    if kind is OperationKind.WRITE:
        return False
    return bool(names & _LOST) or any(_is_lost(cause) or _is_refused_for_now(cause) for cause in causes)


def _is_lost(cause: BaseException) -> bool:
    # Where none of a name's addresses answers, asyncio raises an OSError without a number for all of them.
    return isinstance(cause, _LOST_CLASSES) or (
        isinstance(cause, OSError)
        and (cause.errno in _LOST_ERRNOS or (type(cause) is OSError and cause.errno is None))
    )


def _is_unresolved_for_now(cause: BaseException) -> bool:
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN


def _is_refused_for_now(cause: BaseException) -> bool:
    name = f"{type(cause).__module__.partition('.')[0]}.{type(cause).__name__}"
    if name not in _STATUS_ERRORS:
        return False
    answer: object = getattr(cause, "response", cause)
    return any(getattr(answer, field, None) in _STATUSES for field in ("status_code", "status", "code"))

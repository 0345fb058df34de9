"""Serves the metrics of this process over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import start_http_server

from scheduler_repo.errors import InvalidSettings

LOOPBACK: Final = "127.0.0.1"
MAX_PORT: Final = 65_535


@contextmanager
def metrics_endpoint(port: int, host: str = LOOPBACK) -> Iterator[str]:
    """Serve the metrics of this process over HTTP inside the block, and yield their URL.

    They are in the default registry of prometheus-client; the server has a thread of its own. Port 0 takes one
    that is free. Raises InvalidSettings for a port or host that cannot be listened on. Costs up to half a
    second at the end.
    """
    if type(port) is not int or not 0 <= port <= MAX_PORT:
        raise InvalidSettings(f"metrics port {port!r:.40} is no port; give 0 to {MAX_PORT}")
    try:
        server, thread = start_http_server(port, host)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidSettings(
            f"metrics cannot be served on port {port} of {host!r:.80}: {reason}; give another port or host"
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Where metrics are scraped, and what cannot be listened on."""

import gzip
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Final, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.metrics import endpoint
from scheduler_repo.metrics.endpoint import Health, Probe, metrics_endpoint
from scheduler_repo.metrics.ticks import show_pending
from scheduler_repo.types import ScalingGroupName
from tests.support.waiting import PATIENCE


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - of this test  # noqa: S310 - the URL is the test's own
        return str(answer.read().decode())


def asked(url: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - of this test
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


class TestEndpoint:
    def test_serves_the_metrics_until_its_end(self) -> None:
        # given
        show_pending(ScalingGroupName("scraped"), 7)
        # when
        with metrics_endpoint(0) as url:
            text = scraped(url)
        # then
        assert url.startswith("http://127.0.0.1:")
        assert 'scheduler_repo_pending_sessions{scaling_group="scraped"} 7.0' in text
        with pytest.raises(URLError):
            scraped(url)

    def test_probes_say_what_they_find_and_a_mistyped_one_is_not_well(self) -> None:
        probes: dict[str, Probe] = {
            "/healthz": lambda: Health(True, "alive\n"),
            "/readyz": lambda: Health(False, "gpu: waiting\n"),
        }
        with metrics_endpoint(0, probes=probes) as url:
            place = url.removesuffix("/metrics")
            assert asked(f"{place}/healthz?verbose") == (200, "alive\n")
            assert asked(f"{place}/readyz") == (503, "gpu: waiting\n")
            assert asked(f"{place}/health") == (404, "there are /metrics, /healthz, /readyz\n")
            assert asked(url)[0] == asked(f"{place}/")[0] == 200

    def test_other_addresses_are_not_listened_on(self) -> None:
        with metrics_endpoint(0) as url, socket.socket() as other:
            port = int(url.split(":")[2].split("/")[0])
            # The whole of 127/8 is this machine; a server on all addresses would be in the way.
            other.bind(("127.0.0.2", port))

    def test_another_host(self) -> None:
        with metrics_endpoint(0, "127.0.0.3") as url:
            assert url.startswith("http://127.0.0.3:")
            assert "python_info" in scraped(url)

    def test_address_of_version_6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no loopback of IP version 6")
        with metrics_endpoint(0, "::1") as url:
            assert url.startswith("http://[::1]:")
            assert "python_info" in scraped(url)

    def test_port_in_use(self) -> None:
        with metrics_endpoint(0) as url:
            port = int(url.split(":")[2].split("/")[0])
            with pytest.raises(
                InvalidSettings, match=f"port {port} of '127.0.0.1': Address already in use; give"
            ):
                metrics_endpoint(port).__enter__()

    @pytest.mark.parametrize(
        "host", ["no such host", "nowhere.invalid", "192.0.2.1", "x" * 300, "é" * 70, "a\0b"]
    )
    def test_host_that_is_not_this_machine(self, host: str) -> None:
        with pytest.raises(InvalidSettings, match="give another port or host"):
            metrics_endpoint(0, host).__enter__()

    @pytest.mark.parametrize("port", [-1, 65_536, 10**30, True, 9090.0, "9090", None])
    def test_no_port(self, port: object) -> None:
        with pytest.raises(InvalidSettings, match="is no port; give 0 to 65535"):
            metrics_endpoint(cast(int, port)).__enter__()


MANY: Final = 64


def until(is_so: Callable[[], bool]) -> None:
    """Return when something is so."""
    deadline = monotonic() + PATIENCE
    while not is_so():
        assert monotonic() < deadline


def open_on_the_server(url: str) -> int:
    """How many connections the server of a URL holds."""
    port = urlsplit(url).port
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        for each in psutil.Process().net_connections("tcp")
    )


class TestGreedyClients:
    """Clients of no use get neither the process's descriptors nor the scraper's turn."""

    @pytest.fixture
    def clients(self) -> Iterator[Callable[[str], socket.socket]]:
        """Connects clients that do nothing by themselves."""
        with ExitStack() as stack:

            def connect(url: str) -> socket.socket:
                place = urlsplit(url)
                assert place.hostname
                assert place.port
                return stack.enter_context(
                    socket.create_connection((place.hostname, place.port), timeout=PATIENCE)
                )

            yield connect

    @pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nX: "], ids=["idle", "half a request"])
    def test_many_clients_that_do_not_ask(self, clients: Callable[[str], socket.socket], sent: bytes) -> None:
        with metrics_endpoint(0) as url:
            # given
            for _ in range(MANY):
                clients(url).sendall(sent)
            # when
            text = scraped(url)
            # then
            assert "python_info" in text
            assert open_on_the_server(url) <= endpoint.MAX_CONNECTIONS

    def test_clients_that_send_a_byte_now_and_then(
        self, clients: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given
        monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 0.3)
        with metrics_endpoint(0) as url:
            client = clients(url)
            client.settimeout(0.05)
            # when
            with pytest.raises(OSError), suppress(TimeoutError):  # noqa: PT011, PT012 - reset or broken pipe
                for _ in range(200):
                    client.sendall(b"x")
                    with suppress(TimeoutError):
                        if client.recv(1) == b"":
                            raise ConnectionResetError
            # then
            assert open_on_the_server(url) == 0

    def test_clients_that_do_not_read_the_answer(
        self, clients: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given an answer that no socket holds
        monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 0.3)
        large = CollectorRegistry()
        Gauge("large", "x" * 30_000_000, registry=large).set(1)
        monkeypatch.setattr(endpoint, "REGISTRY", large)
        with metrics_endpoint(0) as url:
            # when
            client = clients(url)
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.recv(1)
            # then
            until(lambda: open_on_the_server(url) == 0)

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
            (b"\r\n\r\n", b"400"),
            (b"\x16\x03\x01\r\n\r\n", b"400"),
            (b"GET\r\n\r\n", b"400"),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405"),
        ],
        ids=["too long", "empty", "other bytes", "no path", "other method"],
    )
    def test_what_is_no_request(
        self, clients: Callable[[str], socket.socket], sent: bytes, status: bytes
    ) -> None:
        with metrics_endpoint(0) as url:
            client = clients(url)
            client.sendall(sent)
            with client.makefile("rb") as answer:
                assert answer.readline().split()[1] == status
            assert "python_info" in scraped(url)

    def test_a_block_that_ends_waits_for_no_client(self, clients: Callable[[str], socket.socket]) -> None:
        with metrics_endpoint(0) as url:
            client = clients(url)
            until(lambda: open_on_the_server(url) == 1)
        # its end is at once: the request's time is not over
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""

    def test_forms_that_a_scraper_may_ask_for(self) -> None:
        asked = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
        with metrics_endpoint(0) as url:
            request = urllib.request.Request(f"{url}?name[]=python_info", headers=asked)  # noqa: S310
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
                text = gzip.decompress(answer.read()).decode()
        assert text.startswith("# HELP python_info")
        assert "process_" not in text

"""Where metrics are scraped, and what cannot be listened on."""

import socket
import urllib.request
from typing import cast
from urllib.error import URLError

import pytest

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.metrics.endpoint import metrics_endpoint
from scheduler_repo.metrics.ticks import show_pending
from scheduler_repo.types import ScalingGroupName


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the URL is the test's own
        return str(answer.read().decode())


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

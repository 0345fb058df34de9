"""--metrics-port: a scrape while a command runs, and what is no port."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

import pytest

from tests.support.command import Command, CommandHere
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.observation import free_port
from tests.support.waiting import PATIENCE

_LAYERS = "backendai_layer_operation"


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - the URL is the test's own
        return str(answer.read().decode())


@contextmanager
def listening() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


class TestDemo:
    def test_scraped_while_it_runs(self, command: Command) -> None:
        """The last scrape comes while the servers are stopped, when all ticks are done."""
        # given
        process = command.start("demo", "--agents", "20", "--sessions", "300", "--metrics-port", "0", "--json")
        assert process.stderr is not None
        url = process.stderr.readline().removeprefix("metrics: ").strip()
        assert url.startswith("http://127.0.0.1:")
        # What the demo says must be read, or it would wait.
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        # when
        text = ""
        pools: set[str] = set()
        while process.poll() is None:
            try:
                text = scraped(url)
                pools.update(line for line in text.splitlines() if line.startswith("scheduler_repo_pool_size{"))
            except (URLError, ConnectionError):
                assert text, "the first scrape fails"
        drain.join()
        # then
        assert process.returncode == 0
        lines = text.splitlines()
        ticks = 'scheduler_repo_ticks_total{scaling_group="demo",success="true"} '
        (count,) = (float(line.removeprefix(ticks)) for line in lines if line.startswith(ticks))
        assert count >= 2
        # The first tick reads everything, and the others what has changed.
        source = 'domain="repository",layer="scheduler_db_source",operation="get_scheduling_data"'
        assert f'{_LAYERS}_count_total{{{source},success="true"}} 1.0' in lines
        assert f"{_LAYERS}_triggered_count{{{source}}} 0.0" in lines
        assert 'scheduler_repo_read_bytes_count{scaling_group="demo"} 1.0' in lines
        # The last scrape may come when the pool is gone.
        assert pools == {'scheduler_repo_pool_size{database="scheduler_repo"} 5.0'}
        for phase in ("read", "transform", "plan", "write"):
            name = "scheduler_repo_tick_phase_duration_sec_count"
            assert f'{name}{{phase="{phase}",scaling_group="demo"}} {count}' in lines
        with pytest.raises(URLError):
            scraped(url)
        assert process.stdout is not None
        process.stdout.close()
        process.stderr.close()

    def test_nothing_is_served_unless_asked_for(
        self, command_here: CommandHere, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        ended = command_here.run("demo", "--agents", "2", "--sessions", "3", "--json", "--database-url", url)
        assert ended.code == 0
        assert "metrics" not in ended.errors


class TestPurge:
    def test_says_where(self, command_here: CommandHere, migrated_database: Database) -> None:
        # given
        port = free_port()
        url = migrated_database.url_as(SCHEDULER)
        # when
        ended = command_here.run(
            "db", "purge", "--older-than", "30d", "--database-url", url, "--metrics-port", str(port)
        )
        # then
        assert ended.code == 0
        assert ended.errors == f"metrics: http://127.0.0.1:{port}/metrics\n"

    def test_port_is_free_again_after_an_error(
        self, command_here: CommandHere, empty_database: Database
    ) -> None:
        # given
        port = free_port()
        url = empty_database.url_as(OWNER)
        # when
        ended = command_here.run(
            "db", "purge", "--older-than", "30d", "--database-url", url, "--metrics-port", str(port)
        )
        # then
        assert ended.code == 1
        with socket.create_server(("127.0.0.1", port)):
            pass


class TestWrongPorts:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--metrics-port", "x"], "'--metrics-port': 'x' is not a whole number"),
            (["--metrics-port", "90.5"], "'90.5' is not a whole number"),
            (["--metrics-port", ""], "'' is not a whole number"),
            (["--metrics-port", "-1"], "'--metrics-port': -1 is not in the range"),
            (["--metrics-port", "65536"], "'--metrics-port': 65536 is not in the range"),
            (["--metrics-host", "127.0.0.1"], "--metrics-host is the address for --metrics-port"),
            (["--metrics-port", "0", "--metrics-host", "nowhere.invalid"], "of 'nowhere.invalid': "),
            (["--metrics-port", "0", "--metrics-host", "192.0.2.1"], "of '192.0.2.1': "),
        ],
    )
    @pytest.mark.parametrize("command", [["demo"], ["db", "purge", "--older-than", "30d"]])
    def test_is_one_line(
        self, command_here: CommandHere, command: list[str], arguments: list[str], expected: str
    ) -> None:
        ended = command_here.run(*command, *arguments, SCHEDULER_REPO_DATABASE_URL="postgresql:///nowhere")
        assert (ended.code, ended.output) == (2, "")
        assert expected in ended.error_line

    def test_port_that_is_taken(self, command: Command) -> None:
        with listening() as port:
            ended = command.run("demo", "--agents", "2", "--sessions", "3", "--metrics-port", str(port))
        assert (ended.code, ended.output) == (2, "")
        assert f"port {port} of '127.0.0.1': Address already in use; give another port" in ended.error_line
        assert command.left_behind() == []

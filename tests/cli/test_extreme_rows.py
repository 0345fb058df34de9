"""The commands on rows whose sums pass 64 bits."""

import asyncio

import msgspec

from scheduler_repo import open_repositories
from tests.support.command import CommandHere
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.extreme_rows import LARGEST, SIZE, add_extreme_rows
from tests.support.small_cluster import GROUP, agent, cluster, session, session_id


class TestExtremeRows:
    def test_every_command_that_reads_shows_them_exactly(
        self, command_here: CommandHere, fresh_database: Database
    ) -> None:
        url = fresh_database.url_as(SCHEDULER)

        async def fill() -> None:
            async with open_repositories(url) as repos:
                await repos.cluster.load_cluster(cluster([agent("a1")], [session(1, 1)]))
            async with fresh_database.driver_as(OWNER) as owner:
                await add_extreme_rows(owner)

        asyncio.run(fill())
        # when
        for arguments in (("snapshot", GROUP), ("explain", str(session_id(1)))):
            for form in ((), ("--json",)):
                ended = command_here.run(*arguments, *form, "--database-url", url)
                assert (ended.code, ended.errors) == (0, ""), arguments
        audited = command_here.run("audit", "--json", "--database-url", url)
        # then
        assert str(2 * LARGEST) in audited.output
        snapshot = command_here.run("snapshot", GROUP, "--json", "--database-url", url)
        owners = msgspec.json.decode(snapshot.output)["access_keys"]
        assert owners[0]["occupied"][0] == 2 * SIZE * LARGEST

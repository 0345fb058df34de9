"""Whoever upgrades: what the package makes belongs to the owner role, if there is one."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.schema.upgrade import check_schema, downgrade_schema, upgrade_schema
from scheduler_repo.database.schema.version import known_revisions
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database

_MEMBER = "upgrading_member"

# Every kind of object that has an owner and a place in a schema.
_OWNERS = """
SELECT DISTINCT pg_get_userbyid(owner) FROM (
    SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typowner FROM pg_type WHERE typnamespace = 'public'::regnamespace
) AS objects
"""


async def _owners(database: Database) -> set[str]:
    async with database.driver_as(ADMIN) as driver:
        return {row[0] for row in await driver.fetch(_OWNERS)}


async def _upgrade(database: Database, role: str) -> None:
    async with database.connect_as(role) as connection:
        await upgrade_schema(connection)


@pytest.fixture
async def member(empty_database: Database) -> AsyncIterator[str]:
    """A role that is no superuser, but may act as the owner."""
    await empty_database.run_as(ADMIN, f"CREATE ROLE {_MEMBER} LOGIN IN ROLE {OWNER}")
    yield _MEMBER
    await empty_database.run_as(ADMIN, f"DROP OWNED BY {_MEMBER}; DROP ROLE {_MEMBER}")


class TestOwner:
    async def test_a_superuser_makes_the_tables_for_the_owner(self, empty_database: Database) -> None:
        await _upgrade(empty_database, ADMIN)

        assert await _owners(empty_database) == {OWNER}
        await _upgrade(empty_database, OWNER)

    async def test_a_member_of_the_owner_role_does_too(self, empty_database: Database, member: str) -> None:
        await _upgrade(empty_database, member)

        assert await _owners(empty_database) == {OWNER}

    @pytest.mark.parametrize(
        "revision",
        [
            known_revisions()[0],  # adds what all the others add
            *(pytest.param(each, marks=pytest.mark.slow) for each in known_revisions()[1:]),
        ],
    )
    async def test_what_a_superuser_adds_later_is_the_owners(
        self, migrated_database: Database, revision: str
    ) -> None:
        # Given
        async with migrated_database.connect_as(ADMIN) as connection:
            await downgrade_schema(connection, revision)

        # When
        await _upgrade(migrated_database, ADMIN)

        # Then
        assert await _owners(migrated_database) == {OWNER}
        async with migrated_database.connect_as(OWNER) as connection:
            await downgrade_schema(connection, revision)
            await upgrade_schema(connection)
            assert await check_schema(connection) == ()

    async def test_what_was_taken_away_is_given_back(self, migrated_database: Database) -> None:
        await migrated_database.run_as(ADMIN, f"REASSIGN OWNED BY {OWNER} TO CURRENT_USER")
        assert OWNER not in await _owners(migrated_database)

        await _upgrade(migrated_database, ADMIN)

        assert await _owners(migrated_database) == {OWNER}
        await _upgrade(migrated_database, OWNER)

    async def test_what_strangers_made_stays_theirs(self, migrated_database: Database) -> None:
        """Else one who may create here could have a function run with the owner's rights."""
        script = f"""
        SET ROLE {SCHEDULER};
        CREATE FUNCTION session_dependencies_mark_sessions(text) RETURNS text LANGUAGE sql SECURITY DEFINER
            AS 'SELECT current_user::text'
        """
        await migrated_database.run_as(ADMIN, f"GRANT CREATE ON SCHEMA public TO {SCHEDULER}")
        await migrated_database.run_as(ADMIN, script)

        await _upgrade(migrated_database, ADMIN)

        assert await _owners(migrated_database) == {OWNER, SCHEDULER}

    async def test_without_rights_in_the_schema_the_owner_gets_nothing(self, empty_database: Database) -> None:
        await empty_database.run_as(ADMIN, f"REVOKE CREATE ON SCHEMA public FROM {OWNER}")

        await _upgrade(empty_database, ADMIN)

        assert OWNER not in await _owners(empty_database)

    async def test_the_role_of_the_connection_is_the_same_after(self, empty_database: Database) -> None:
        async with empty_database.connect_as(ADMIN) as connection:
            await upgrade_schema(connection)
            role = (await connection.exec_driver_sql("SELECT current_user = session_user")).scalar_one()
        assert role is True

"""The program written with the public names alone does what it says, on real servers."""

import ast
import inspect

from scheduler_repo.types import SessionStatus
from tests.support.databases import SCHEDULER, Database
from tests.typing import program


class TestProgram:
    async def test_it_takes_a_session_to_its_end(self, migrated_database: Database, redis_url: str) -> None:
        # when
        status, metrics = await program.live(migrated_database.url_as(SCHEDULER), redis_url)
        # then
        assert status is SessionStatus.TERMINATED
        for metric in ("backendai_layer_operation_count_total", "scheduler_repo_"):
            assert metric in metrics

    def test_it_is_short_and_uses_the_public_names_alone(self) -> None:
        source = inspect.getsource(program)
        assert len(source.splitlines()) < 40
        imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
        assert {module for module in imported if module and "repo" in module} == {"scheduler_repo"}

"""Real PostgreSQL and Valkey servers in private directories, for tests, benchmarks and a first try."""

from scheduler_repo.embedded.errors import EmbeddedServerError
from scheduler_repo.embedded.postgres import EmbeddedPostgres
from scheduler_repo.embedded.server import EmbeddedServer, StopMode
from scheduler_repo.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedServer", "EmbeddedServerError", "EmbeddedValkey", "StopMode"]

"""Real PostgreSQL and Valkey servers in private directories, for tests, benchmarks and a first try.

``server`` has the life of one server, ``postgres`` and ``valkey`` what is special about each; ``installation``
finds their programs in the wheels of the extra ``embedded``. A server ends, and its directory goes, with the
process that started it, however that dies (``lifeline``). Everybody may use what is exported here; nothing else
is public.
"""

from scheduler_repo.embedded.postgres import EmbeddedPostgres
from scheduler_repo.embedded.server import EmbeddedServer, StopMode
from scheduler_repo.embedded.valkey import EmbeddedValkey
from scheduler_repo.errors import EmbeddedServerError

__all__ = ["EmbeddedPostgres", "EmbeddedServer", "EmbeddedServerError", "EmbeddedValkey", "StopMode"]

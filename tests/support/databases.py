"""Databases of the test server, by the names that the tests use."""

from scheduler_repo.testing.databases import ADMIN as ADMIN
from scheduler_repo.testing.databases import OWNER as OWNER
from scheduler_repo.testing.databases import READER as READER
from scheduler_repo.testing.databases import SCHEDULER as SCHEDULER
from scheduler_repo.testing.databases import Database as Database
from scheduler_repo.testing.databases import DatabaseServer as DatabaseServer
from scheduler_repo.testing.databases import DriverConnection as DriverConnection

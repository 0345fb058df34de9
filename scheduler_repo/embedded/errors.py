"""The one error of the embedded servers."""

from scheduler_repo.errors import SchedulerRepoError


class EmbeddedServerError(SchedulerRepoError):
    """An embedded server cannot be found, started, used or stopped; the message says what to do."""

    error_code = "embedded_server_error"

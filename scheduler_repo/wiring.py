"""Checks that parts fit together, made where they are put together."""

from scheduler_repo.errors import InvalidWiring
from scheduler_repo.quoting import with_article


def check_wiring(given: object, kind: type, parameter: str, advice: str) -> None:
    """Raise InvalidWiring if a part is not of the kind that is needed; ``advice`` says what to give instead."""
    if not isinstance(given, kind):
        raise InvalidWiring(
            f"{parameter} is {describe_part(given)}, it must be {with_article(kind)}; give {advice}"
        )


def check_same_engine(engine: object, cached_engine: object) -> None:
    """Raise InvalidWiring unless a repository's db_source and cache_source are over one engine.

    A cache source over another engine would answer from another database, and hear of no write.
    """
    if cached_engine is not engine:
        raise InvalidWiring(
            "cache_source is over another engine than db_source; make both over the same db_source"
        )


def describe_part(given: object) -> str:
    """Return a part's kind in words, never its value, which may hold a password."""
    return f"the class {given.__name__}" if isinstance(given, type) else with_article(type(given))

"""The check that a part was given where it is needed, made where the mistake is made."""

from scheduler_repo.errors import InvalidWiring


def check_wiring(given: object, kind: type, parameter: str, advice: str) -> None:
    """Raise InvalidWiring if a part is not of the kind that is needed; ``advice`` says what to give instead."""
    if not isinstance(given, kind):
        found = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise InvalidWiring(f"{parameter} is {found}, it must be a {kind.__name__}; give {advice}")

"""Loads what an option names as MODULE:OBJECT, such as a planner of the user's own."""

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import TypeGuard

import click

from scheduler_repo.cli.options import refuse_url
from scheduler_repo.errors import InvalidWiring
from scheduler_repo.quoting import quoted


def load_part(name: str, option: str, example: str, check: Callable[[object], None]) -> Callable[[], object]:
    """Return what makes the part that ``option`` names: an object for each call, or always the one object.

    A class, or a function without arguments, makes objects; the first is made here, to be checked.
    Raises BadParameter, with ``example`` for what is no MODULE:OBJECT.
    """
    hint = f"'{option}'"
    refuse_url(name, f"what {option} loads as MODULE:OBJECT")
    module_name, colon, object_name = name.partition(":")
    if not (colon and object_name.isidentifier() and all(map(str.isidentifier, module_name.split(".")))):
        raise click.BadParameter(f"{quoted(name)} is not MODULE:OBJECT, such as {example}", param_hint=hint)
    # The script's own folder is first there, not the user's.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module_name), object_name)
        if not _makes_parts(found):
            check(found)
            return lambda: found
        made = [found()]
        check(made[0])
    except InvalidWiring as error:
        raise click.BadParameter(str(error), param_hint=hint) from error
    except (Exception, SystemExit) as error:
        problem = f"{quoted(name)} cannot be loaded: {type(error).__name__}: {error}"
        raise click.BadParameter(problem, param_hint=hint) from error

    # The one that was checked is the first that is taken.
    return lambda: made.pop() if made else found()


def _makes_parts(found: object) -> TypeGuard[Callable[[], object]]:
    """Whether it is a class, or a function that can be called without arguments."""
    if not inspect.isfunction(found):
        return isinstance(found, type)
    try:
        inspect.signature(found).bind()
    except TypeError:
        return False
    return True

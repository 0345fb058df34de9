"""Rings of dependencies, and sessions that wait for one that can never succeed."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from scheduler_repo.steps import CHUNK_ROWS, Steps, chunks_of

NodeT = TypeVar("NodeT", bound=Hashable)


def find_rings(links: Iterable[tuple[NodeT, NodeT]]) -> Steps[list[frozenset[NodeT]]]:
    """Find the sessions that wait for each other, one set for all that do; ``links`` are (session, depends on).

    Cost: two passes over the links.
    """
    forward: dict[NodeT, list[NodeT]] = {}
    backward: dict[NodeT, list[NodeT]] = {}
    for session, other in links:
        forward.setdefault(session, []).append(other)
        backward.setdefault(other, []).append(session)
        yield
    seen: set[NodeT] = set()
    ended: list[NodeT] = []
    for start in forward:
        ended += _walk(start, forward, seen)
        yield
    # From the last that a walk left, backwards, one reaches only those that it reaches itself.
    seen.clear()
    rings: list[frozenset[NodeT]] = []
    for start in reversed(ended):
        ring = frozenset(_walk(start, backward, seen))
        if len(ring) > 1:
            rings.append(ring)
        yield
    return rings


def find_hopeless(links: Mapping[NodeT, Sequence[NodeT]], failed: Iterable[NodeT]) -> Steps[set[NodeT]]:
    """Find the sessions that can never start, of those that wait.

    ``links`` are what each of them depends on, as far as it waits too; ``failed`` depend on one that cannot
    succeed. Cost: one pass over the links.
    """
    hopeless = set(failed)
    dependants: dict[NodeT, list[NodeT]] = {}
    open_counts: dict[NodeT, int] = {}
    for chunk in chunks_of(list(links)):
        for session in chunk:
            waiting = [other for other in links[session] if other in links]
            open_counts[session] = len(waiting)
            for other in waiting:
                dependants.setdefault(other, []).append(session)
        yield
    # Who waits for nobody that waits may start, and then who waits for none but these; a ring is never reached.
    startable = [session for session, count in open_counts.items() if not count and session not in hopeless]
    for number, session in enumerate(startable):
        for dependant in dependants.get(session, ()):
            open_counts[dependant] -= 1
            if not open_counts[dependant] and dependant not in hopeless:
                startable.append(dependant)
        if number % CHUNK_ROWS == 0:
            yield
    return set(links).difference(startable)


def _walk(start: NodeT, links: Mapping[NodeT, Sequence[NodeT]], seen: set[NodeT]) -> list[NodeT]:
    """Return what is reached and was not seen, in the order in which a walk in depth leaves it."""
    ended: list[NodeT] = []
    if start in seen:
        return ended
    seen.add(start)
    path = [(start, iter(links.get(start, ())))]
    while path:
        node, following = path[-1]
        step = next((each for each in following if each not in seen), None)
        if step is None:
            ended.append(node)
            path.pop()
        else:
            seen.add(step)
            path.append((step, iter(links.get(step, ()))))
    return ended

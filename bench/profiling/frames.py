"""Trees of function calls with an amount each, of time or of bytes, as graphs show them."""

import site
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

# Frames that together take less are left out of a graph, and nobody could see them there.
_LEAST_SHARE: Final = 0.001
# The function of the harness that makes the call, whatever that is.
_HARNESS: Final = "bench/profiling/passes.py:"
_CALLER: Final = "call"
_ROOTS: Final = tuple(
    sorted(
        {
            *(str(Path(path)) for path in site.getsitepackages()),
            sysconfig.get_paths()["stdlib"],
            str(Path(__file__).parents[2]),
        },
        key=len,
        reverse=True,
    )
)


class FrameNode(msgspec.Struct):
    """A function that was running, what it took with all that it called, and what each of these took."""

    name: str
    where: str
    amount: float = 0.0
    children: list["FrameNode"] = []

    def child(self, name: str, where: str) -> "FrameNode":
        """Find or make the frame of a function that this one called."""
        for child in self.children:
            if child.name == name and child.where == where:
                return child
        self.children.append(FrameNode(name, where, 0.0, []))
        return self.children[-1]

    def add(self, stack: Sequence[tuple[str, str]], amount: float) -> None:
        """Add an amount to a stack of names and places, the outermost first."""
        node = self
        node.amount += amount
        for name, where in stack:
            node = node.child(name, where)
            node.amount += amount

    @property
    def own(self) -> float:
        """What it took itself."""
        return max(0.0, self.amount - sum(child.amount for child in self.children))

    def walk(self) -> Iterator["FrameNode"]:
        """Go through the tree."""
        yield self
        for child in self.children:
            yield from child.walk()


class HotFrame(msgspec.Struct, frozen=True):
    """A function, wherever it was called from, and what it took itself."""

    name: str
    where: str
    amount: float
    share: float


def trimmed(root: FrameNode) -> FrameNode:
    """Return the tree of what the profile has called, without what is too small to see."""
    found = FrameNode(root.name, root.where, 0.0, [])
    _take_calls(root, found)
    found.amount = sum(child.amount for child in found.children)
    _prune(found, found.amount * _LEAST_SHARE)
    return found


def hottest(root: FrameNode, count: int) -> tuple[HotFrame, ...]:
    """Find the functions that took the most themselves."""
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for node in root.walk():
        sums[node.name, node.where] += node.own
    found = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:count]
    return tuple(
        HotFrame(name, where, amount, amount / root.amount if root.amount else 0.0)
        for (name, where), amount in found
        if amount > 0
    )


def shown_path(path: str) -> str:
    """Return a file's path from where its package lies."""
    for root in _ROOTS:
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    return path


def _take_calls(node: FrameNode, found: FrameNode) -> None:
    """Add what the harness called below ``node``, and what runs outside of the harness, to ``found``."""
    if node.where.startswith(_HARNESS) and node.name == _CALLER:
        for child in node.children:
            _merge(child, found)
        return
    for child in node.children:
        if any(each.where.startswith(_HARNESS) for each in child.walk()):
            _take_calls(child, found)
        else:
            _merge(child, found)


def _merge(node: FrameNode, parent: FrameNode) -> None:
    same = parent.child(node.name, node.where)
    same.amount += node.amount
    for child in node.children:
        _merge(child, same)


def _prune(node: FrameNode, least: float) -> None:
    node.children = sorted(
        (each for each in node.children if each.amount >= least), key=lambda each: -each.amount
    )
    for child in node.children:
        _prune(child, least)

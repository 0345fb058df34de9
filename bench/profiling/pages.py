"""The pages of a profile: plain HTML with all that it needs inside, for a browser without any network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

import jinja2
import markupsafe
import msgspec

from bench.cli.tables import format_ms
from bench.profiling.frames import FrameNode
from bench.profiling.kept import Graphs, Profile, name_cluster
from bench.profiling.summary import format_bytes
from scheduler_repo.cli.output.amounts import format_count

_TEMPLATES: Final = Path(__file__).parent / "templates"


def make_pages(profile: Profile, graphs: Sequence[Graphs]) -> dict[str, str]:
    """Make all pages, by file name; ``graphs`` are those of the cases, in their order."""
    environment = _make_environment()
    title = f"Profile of {profile.suite}, {name_cluster(profile.size)}"
    pages = {"index.html": environment.get_template("index.html").render(title=title, profile=profile)}
    for number, (case, graph) in enumerate(zip(profile.cases, graphs, strict=True), 1):
        title = f"{profile.suite}: {case.name}"
        pages[f"case-{number}.html"] = environment.get_template("case.html").render(
            title=title,
            profile=profile,
            case=case,
            number=number,
            longest=max((phase.wall_ms for phase in case.phases), default=0.0) or 1.0,
        )
        for name, unit, trees, hottest in (
            ("time", "ms", graph.time, case.hottest),
            ("memory", "bytes", {"Held at the peak": graph.memory}, case.allocated),
        ):
            pages[f"case-{number}-{name}.html"] = environment.get_template("graph.html").render(
                title=f"{title}: {name} by function",
                number=number,
                unit=unit,
                trees={heading: _as_script(tree) for heading, tree in trees.items()},
                hottest=hottest,
            )
    return pages


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=_optional_ms, bytes=format_bytes, count_of=format_count)
    return environment


def _as_script(tree: FrameNode) -> markupsafe.Markup:
    """Encode a tree so that no text in it ends the script that it stands in, or begins another."""
    encoded = msgspec.json.encode(_compact(tree)).decode().replace("<", "\\u003c")
    return markupsafe.Markup(encoded)  # noqa: S704 - JSON without any tag


def _compact(node: FrameNode) -> list[object]:
    return [node.name, node.where, round(node.amount, 3), [_compact(child) for child in node.children]]


def _optional_ms(milliseconds: Optional[float]) -> str:
    return "" if milliseconds is None else format_ms(milliseconds)

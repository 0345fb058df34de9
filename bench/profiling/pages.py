"""The pages of a profile: plain HTML with all that it needs inside, for a browser without any network."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final, Optional

import msgspec

from bench.cli.tables import format_ms
from bench.profiling.blocks import LoopBlock
from bench.profiling.frames import FrameNode, HotFrame
from bench.profiling.kept import CaseProfile, Graphs, Profile
from bench.profiling.phases import Phase
from bench.profiling.plans import StatementPlan
from bench.profiling.summary import format_bytes
from scheduler_repo.cli.output.amounts import format_count

_HERE: Final = Path(__file__).parent
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_HERE / "graph.js").read_text(encoding="utf-8")
_CLOCKS: Final = {
    "log": "the lower of two of its own figures: its log_duration, and the planning, execution and "
    "serialization that EXPLAIN ANALYZE reports without sending rows; a long answer's log_duration runs on "
    "while the client reads",
    "explain": "the planning, execution and serialization that EXPLAIN ANALYZE reports, which sends no rows; "
    "there is none for BEGIN and COMMIT",
}


def make_pages(profile: Profile, graphs: Sequence[Graphs]) -> dict[str, str]:
    """Make all pages, by file name; ``graphs`` are those of the cases, in their order."""
    pages = {"index.html": _index(profile)}
    for number, (case, graph) in enumerate(zip(profile.cases, graphs, strict=True), 1):
        title = f"{profile.suite}: {case.name}"
        pages[f"case-{number}.html"] = _page(title, _case(profile, case, number))
        time = [(thread, tree, "ms") for thread, tree in graph.time.items()]
        pages[f"case-{number}-time.html"] = _page(
            f"{title}: time by function", _graph(time, case.hottest, number)
        )
        memory = [("held at the peak", graph.memory, "bytes")]
        pages[f"case-{number}-memory.html"] = _page(
            f"{title}: memory by function", _graph(memory, case.allocated, number)
        )
    return pages


def _page(title: str, body: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{''.join(body)}</body>\n</html>\n"
    )


def _index(profile: Profile) -> str:
    return _page(f"Profile of {profile.suite} at size {profile.size}", _index_body(profile))


def _index_body(profile: Profile) -> Iterator[str]:
    yield f"<pre class=summary>{escape(chr(10).join(profile.summary))}</pre>\n"
    yield "<h2>Cases</h2>\n"
    header = ("case", "ms", "least", "most", "turns", "peak", "longest block, ms", "graphs")
    rows = [
        (
            f'<a href="case-{number}.html">{escape(case.name)}</a>',
            format_ms(case.total_ms),
            format_ms(case.min_ms),
            format_ms(case.max_ms),
            str(case.turns),
            format_bytes(case.peak_bytes),
            format_ms(case.blocks[0].ms) if case.blocks else "under 1",
            _graph_links(number),
        )
        for number, case in enumerate(profile.cases, 1)
    ]
    yield _table(header, rows, text_columns=(0, 7))
    yield "<h2>Machine</h2>\n"
    facts = [(escape(name.replace("_", " ")), escape(_show(fact))) for name, fact in profile.machine.items()]
    yield _table(("", ""), facts, text_columns=(0, 1))


def _show(fact: object) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return ", ".join(map(str, fact)) if isinstance(fact, (list, tuple)) else str(fact)


def _graph_links(number: int) -> str:
    return f'<a href="case-{number}-time.html">time</a> <a href="case-{number}-memory.html">memory</a>'


def _case(profile: Profile, case: CaseProfile, number: int) -> Iterator[str]:
    yield (
        f'<p><a href="index.html">All cases</a>. Median of {case.turns} turns {format_ms(case.total_ms)} ms, '
        f"{format_ms(case.min_ms)} to {format_ms(case.max_ms)}. Graphs: {_graph_links(number)}.</p>\n"
    )
    yield "<h2>Phases</h2>\n"
    yield _phases(case)
    yield (
        "<p>wall: what the caller waited, the median of the turns; server: its own work, "
        f"{_CLOCKS[profile.server_clock]}; client: the rest, which is the wire and the driver. Python is named "
        "by the statement that it works for; transform is all Python after the commit of a read.</p>\n"
    )
    yield "<h2>Longest blocks of the event loop</h2>\n"
    yield from map(_block, case.blocks)
    if not case.blocks:
        yield "<p>None of a millisecond.</p>\n"
    yield "<h2>Statements</h2>\n"
    yield from map(_plan, case.plans)
    if not case.plans:
        yield "<p>None that PostgreSQL plans.</p>\n"


def _phases(case: CaseProfile) -> str:
    longest = max((phase.wall_ms for phase in case.phases), default=0.0) or 1.0
    header = ("phase", "", "calls", "wall, ms", "server", "client", "rows", "received", "share")
    return _table(header, [_phase_row(phase, case, longest) for phase in case.phases], text_columns=(0, 1))


def _phase_row(phase: Phase, case: CaseProfile, longest: float) -> tuple[str, ...]:
    kind = "python" if phase.is_python else "sql"
    return (
        escape(phase.label),
        f'<span class="bar {kind}" style="width:{100 * phase.wall_ms / longest:.1f}px"></span>',
        "" if phase.is_python else f"{phase.calls:g}",
        format_ms(phase.wall_ms),
        _optional_ms(phase.server_ms),
        _optional_ms(phase.client_ms),
        "" if phase.rows is None else f"{phase.rows:,.0f}",
        format_bytes(phase.received),
        f"{100 * phase.wall_ms / case.total_ms:.1f} %" if case.total_ms else "",
    )


def _block(block: LoopBlock) -> str:
    collector = f", {format_ms(block.collector_ms)} of it the garbage collector" if block.collector_ms else ""
    stack = "\n".join(block.stack) if block.stack else "no sample: one call kept the interpreter to itself"
    on_processor = f", {format_ms(block.processor_ms)} on a processor"
    samples = format_count(block.samples, "sample")
    return (
        f"<details><summary>{format_ms(block.ms)} ms{on_processor}{collector}; {samples}</summary>"
        f"<pre>{escape(stack)}</pre></details>\n"
    )


def _plan(plan: StatementPlan) -> str:
    calls = "" if plan.calls == 1 else f", {plan.calls} times in a turn"
    parameters = "\n".join(f"${number} = {value}" for number, value in enumerate(plan.parameters, 1))
    head = f"{plan.section}: {plan.name}, {format_ms(plan.work_ms)} ms{calls}"
    return (
        f"<details><summary>{escape(head)}</summary><pre>{escape(plan.text)}</pre>"
        + (f"<pre>{escape(parameters)}</pre>" if parameters else "")
        + f"<h4>EXPLAIN (ANALYZE, BUFFERS, SETTINGS)</h4><pre>{escape(plan.plan)}</pre></details>\n"
    )


def _graph(
    trees: Sequence[tuple[str, FrameNode, str]], hottest: Sequence[HotFrame], number: int
) -> Iterator[str]:
    yield (
        f'<p><a href="case-{number}.html">The case</a>. Each bar is a function, below it those that it called; '
        "click one to enlarge it, the top one to go back.</p>\n"
    )
    for title, tree, unit in trees:
        yield f"<h2>{escape(title[:1].upper() + title[1:])}</h2>\n"
        data = f'<script type="application/json">{_as_script(tree)}</script>'
        yield f'<div class="graph" data-unit="{unit}">{data}</div>\n'
    yield "<h2>What functions took themselves</h2>\n"
    is_bytes = any(unit == "bytes" for _, _, unit in trees)
    rows = [
        (
            escape(frame.name),
            escape(frame.where),
            format_bytes(frame.amount) if is_bytes else f"{format_ms(frame.amount)} ms",
            f"{100 * frame.share:.1f} %",
        )
        for frame in hottest
    ]
    yield _table(("function", "where", "itself", "share"), rows, text_columns=(0, 1))
    yield f"<script>\n{_SCRIPT}</script>\n"


def _as_script(tree: FrameNode) -> str:
    """Encode a tree so that no text in it ends the script, or begins another."""
    return msgspec.json.encode(_compact(tree)).decode().replace("<", "\\u003c")


def _compact(node: FrameNode) -> list[object]:
    return [node.name, node.where, round(node.amount, 3), [_compact(child) for child in node.children]]


def _optional_ms(milliseconds: Optional[float]) -> str:
    return "" if milliseconds is None else format_ms(milliseconds)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int]) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}>{cell}</{tag}>" if at in text_columns else f"<{tag} class=number>{cell}</{tag}>"
            for at, cell in enumerate(row)
        )

    head = f"<tr>{cells(header, 'th')}</tr>\n" if any(header) else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    return f"<table>\n{head}{body}</table>\n"

"""``python -m bench report``: the page, what it is made of, and what is refused."""

import json
import math
import os
import re
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Final, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.chapters import choose_chapters
from bench.report.drawing import spread
from bench.report.page import MARK, render_page
from bench.report.saved import SavedSuite, read_folder
from bench.report.scales import LogScale
from tests.bench.sample_results import sample_case, sample_suite, write_results
from tests.support.chromium import Chromium
from tests.support.command import Command, CommandHere
from tests.support.databases import ADMIN, Database
from tests.support.observation import PROJECT_ROOT

TINY: Final = ("--size", "XS", "--turns", "1")
COMMITTED: Final = PROJECT_ROOT / "bench" / "results"
HOSTILE: Final = "</title><script src='http://benchmarks.test/x.js'>alert(1)</script> & \x1b[31m"


@pytest.fixture
def suites(tmp_path: Path) -> tuple[SavedSuite, ...]:
    """The samples, read back."""
    return read_folder(write_results(tmp_path / "results"))


class TestResults:
    def test_they_come_in_the_order_of_the_suites(self, suites: tuple[SavedSuite, ...]) -> None:
        assert [suite.suite for suite in suites] == ["read", "growth", "stall", "memory", "tick", "strange"]

    def test_cases_that_differ_by_an_amount_are_one_series(self, suites: tuple[SavedSuite, ...]) -> None:
        found = {
            (suite.suite, series.title, series.unit): [amount for amount, _ in series.points]
            for suite in suites
            for series in suite.series()
        }
        assert found == {
            ("growth", "read, 1,000 to 50,000 pending", "pending"): [1_000, 5_000, 50_000],
            ("tick", "steady, 0 to 1,000 changes", "changes"): [0, 100, 1_000],
            ("strange", "3 changed of 20 to 1,000", ""): [20, 1_000],
        }

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"suite": "read", "si', "read.json is damaged (Input data was truncated); measure it again"),
            ("\udc80", "read.json is damaged"),
            (
                '{"name": "x", "version": 2}',
                "read.json holds no results that this version reads (Object missing",
            ),
            ("[1, 2]", "read.json holds no results that this version reads (Expected `object`"),
            (json.dumps(sample_suite("read")), "of length >= 1"),
            (json.dumps(sample_suite("read", {"name": "full read", "ms": 3})), "'full read' has no median_ms"),
            (json.dumps(sample_suite("read", {"median_ms": 3})), "a case has no name"),
            (
                json.dumps(sample_suite("read", *[sample_case("twice", 1.0)] * 2)),
                "two cases have the same name",
            ),
            (json.dumps(sample_suite("read", sample_case("full read", -1.0))), "'full read' has no median_ms"),
            (
                json.dumps(sample_suite("write", sample_case("x", 1.0))),
                "results of suite write; name it write.json",
            ),
        ],
    )
    def test_what_cannot_be_read_is_named_in_one_line(
        self, content: str, said: str, command_here: CommandHere, tmp_path: Path
    ) -> None:
        # given a page of an earlier report, and one file of ten that is bad
        results, page = write_results(tmp_path / "results"), tmp_path / "page.html"
        page.write_text(f"{MARK} earlier")
        (results / "read.json").write_bytes(content.encode(errors="surrogateescape"))
        # when
        ended = command_here.run("report", "--from", str(results), "--output", str(page))
        # then
        assert ended.code == 1
        assert said in ended.error_line
        assert page.read_text() == f"{MARK} earlier"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "results"]

    def test_a_folder_without_any_is_refused(self, command_here: CommandHere, tmp_path: Path) -> None:
        ended = command_here.run("report", "--from", str(tmp_path), "--output", str(tmp_path / "page.html"))
        assert ended.error_line.endswith(f"write some with: python -m bench all --output {tmp_path}")


class TestPage:
    def test_every_figure_is_on_it(self, suites: tuple[SavedSuite, ...]) -> None:
        page = render_page(suites)
        for suite in suites:
            assert f"python -m bench {suite.suite} --size M" in page
            for case in suite.cases:
                assert page.count(f"<h4>{case.name}</h4>") >= 1
                for name in case.figures:
                    assert f"<dt>{name.replace('_', ' ')}</dt>" in page
        for shown in ("87 ms", "A processor", "24,105", "2026-03-01", "postgresql: server_version", "18.0"):
            assert shown in page

    def test_every_plot_says_what_it_shows_and_has_a_table(self, suites: tuple[SavedSuite, ...]) -> None:
        page = render_page(suites)
        figures = re.findall(r"<figure>(.+?)</figure>", page, re.DOTALL)
        # Three lines, five suites compared, the phases, the blocks, what they last, and the memory.
        assert len(figures) == 3 + 5 + 1 + 1 + 1 + 1
        for figure in figures:
            assert re.search(r'<svg [^>]*role="img" [^>]*aria-label="[^"]{20,}"', figure)
            assert "<table>" in figure
        assert "From 1,000 to 50,000 the engine takes 50 times as long for 50 times as many." in page
        assert "At 50,000: 625 ms, 2 times the floor, 10× faster than the plain way." in page  # noqa: RUF001
        assert "At 1,000: 3 ms, 2 times the floor, 10× faster than the plain way. Speedup over all: 7." in page  # noqa: RUF001
        assert "NaN" not in page
        assert "inf" not in re.sub(r"[a-z]inf|inf[a-z]", "", page)

    def test_nothing_of_the_results_is_markup(self, tmp_path: Path) -> None:
        # given
        hostile = sample_suite("read", sample_case(HOSTILE, 1.0), sample_case(f"{HOSTILE}, 1 x", 1.0))
        hostile["size"] = hostile["machine"] = HOSTILE
        hostile["machine"] = {HOSTILE: HOSTILE, "load_average": HOSTILE, "measured_at": 3, "processors": "two"}
        # when
        page = render_page(read_folder(write_results(tmp_path, hostile)))
        # then
        assert "<script" not in page
        assert page.count("</title>") == 1 + page.count("<title>") - 1

    @pytest.mark.parametrize(
        ("loads", "said"),
        # Before the first suite, and before the second, in which the first has had a part.
        [([0.4, 2.0], None), ([1.5, 2.0], "1.5 on"), ([0.4, 9.5], "9.5 on")],
    )
    def test_a_busy_machine_is_said(self, loads: list[float], said: Optional[str], tmp_path: Path) -> None:
        # given
        for hour, (suite, load) in enumerate(zip(("write", "read"), loads, strict=True)):
            machine = {"load_average": [load, 1, 1], "processors": 2, "measured_at": f"2026-03-01T1{hour}:00"}
            write_results(tmp_path, {**sample_suite(suite, sample_case("full read", 1.0)), "machine": machine})
        # when
        page = render_page(read_folder(tmp_path))
        # then
        assert re.findall(r"load average was ([\d.]+ on)", page) == ([] if said is None else [said])

    def test_a_missed_threshold_comes_first(self, tmp_path: Path) -> None:
        slow = {**sample_case("full read", 87.0), "ratio_to_floor": 1.2, "speedup_over_plain": 2.5}
        page = render_page(read_folder(write_results(tmp_path, sample_suite("read", slow))))
        verdicts = re.findall(r'<li class="(\w+)"><strong>(.+?)</strong>', page, re.DOTALL)
        assert [verdict for verdict, _ in verdicts] == ["missed", "kept", "kept"]
        assert "speedup over plain 2.50, and not at least" in verdicts[0][1]


class TestScales:
    @given(st.lists(st.floats(1e-6, 1e9) | st.just(0.0), min_size=1, max_size=20))
    def test_every_number_lies_on_the_axis_in_its_order(self, numbers: list[float]) -> None:
        for scale in (LogScale.around(numbers, 10, 400), LogScale.between(numbers, 10, 400)):
            places = [scale.at(number) for number in sorted(numbers)]
            assert all(10 <= place <= 400 for place in places)
            assert places == sorted(places)
            assert all(math.isfinite(scale.at(mark)) for mark in scale.marks())

    @given(st.lists(st.floats(0, 300), min_size=1, max_size=5))
    def test_labels_do_not_cover_each_other(self, places: list[float]) -> None:
        moved = sorted(spread(places, 14))
        assert all(after - before > 13 for before, after in pairwise(moved))


class TestCommand:
    def test_results_of_an_earlier_run_are_shown(self, command_here: CommandHere, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        for _ in range(2):  # the second time over the first
            ended = command_here.run(
                "report", "--from", str(write_results(tmp_path / "results")), "--output", str(page)
            )
            assert (ended.code, ended.output) == (0, f"report: {page.as_uri()}\n"), ended.errors
        assert page.read_text() == render_page(read_folder(tmp_path / "results"))

    @pytest.mark.slow
    def test_suites_are_run_and_kept(
        self, command_here: CommandHere, empty_database: Database, tmp_path: Path
    ) -> None:
        # when
        page, url = tmp_path / "page.html", empty_database.url_as(ADMIN)
        arguments = ("--suite", "overhead", *TINY, "--database-url", url, "--keep", str(tmp_path / "kept"))
        ended = command_here.run("report", *arguments, "--output", str(page))
        # then
        assert ended.code == 0, ended.errors
        assert "suite overhead\n  the policies around a call" in ended.output
        assert "one layer: 1 turn\n" in ended.output
        assert re.search(r"\n  one layer: [\d.]+ [µm]s\n", ended.output)
        # But for the first and the last line, of URLs.
        assert max(map(len, ended.output.splitlines()[1:-1])) <= 80
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["overhead.json"]
        assert page.read_text() == render_page(read_folder(tmp_path / "kept"))

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--suite", "raed"], "'raed' is not one of 'read', 'write'"),
            (["--size", "XXL"], "'XXL' is not one of 'XS', 'S', 'M', 'L', 'XL'"),
            (["--from", "nowhere"], "'nowhere' does not exist"),
            (["--from", ".", "--size", "M"], "--from runs nothing; leave out --size"),
            (["--from", ".", "--keep", "x"], "--from runs nothing; leave out --keep"),
            (["--readme", "--suite", "read"], "--readme runs nothing; leave out --suite"),
            (["--refresh", "--keep", "x"], "--refresh keeps the results in bench/results"),
            (["--beside-other-data"], "give --database-url too"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments: list[str], said: str, command_here: CommandHere) -> None:
        ended = command_here.run("report", *arguments)
        assert ended.code in (1, 2)
        assert said in ended.error_line
        assert ended.output == ""

    @pytest.mark.parametrize(
        ("output", "said"),
        [
            ("nowhere/page.html", "/nowhere for page.html; make it, or give another"),
            ("notes.html", "notes.html is no earlier report, and is left as it is; give another --output"),
            ("/dev/null", "/dev/null is no earlier report"),
        ],
    )
    def test_only_an_earlier_report_is_written_over(
        self, output: str, said: str, command_here: CommandHere, tmp_path: Path
    ) -> None:
        # given
        (tmp_path / "notes.html").write_text("mine")
        results = write_results(tmp_path / "results")
        # when
        ended = command_here.run("report", "--from", str(results), "--output", str(tmp_path / output))
        # then
        assert ended.code == 1
        assert said in ended.error_line
        assert (tmp_path / "notes.html").read_text() == "mine"

    def test_a_folder_that_cannot_be_written_to_is_named_before_anything_is_measured(
        self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Root may write anywhere.
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        ended = command_here.run("report", *TINY, "--output", str(tmp_path / "page.html"))
        assert ended.error_line == f"error: folder {tmp_path} cannot be written to; give another --output"

    def test_a_missing_extra_is_named_before_anything_is_measured(
        self, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jinja2", None)
        ended = command_here.run("report", *TINY)
        assert ended.error_line == "error: jinja2 is not installed; pip install 'scheduler-repo[bench]'"
        assert ended.output == ""

    @pytest.mark.slow
    def test_an_interruption_leaves_the_page_that_was_there(self, command: Command, tmp_path: Path) -> None:
        # given
        page = tmp_path / "page.html"
        page.write_text(f"{MARK} earlier")
        arguments = ("report", "--suite", "overhead", "--suite", "read", "--size", "XS", "--turns", "5")
        # when
        ended = command.run_until(
            "full read:", signal.SIGINT, *arguments, "--keep", str(tmp_path / "kept"), "--output", str(page)
        )
        # then
        assert ended.code == 130
        kept = f"what was measured before is in {tmp_path / 'kept'}"
        assert ended.error_line == f"error: stopped by Ctrl-C; the embedded server was removed; {kept}"
        assert page.read_text() == f"{MARK} earlier"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "overhead.json", "page.html"]
        assert command.left_behind() == []


class TestForThisRepository:
    @pytest.fixture
    def checkout(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """A checkout with results at size M and two READMEs, one of which has a figure."""
        checkout = tmp_path / "checkout"
        (checkout / "bench").mkdir(parents=True)
        write_results(checkout / "bench" / "results")
        (checkout / "README.md").write_text("1<!-- figure: read; full read; median_ms --> ms\n")
        (checkout / "bench" / "README.md").write_text("no figure\n")
        monkeypatch.setattr("bench.cli.report._CHECKOUT", checkout)
        return checkout

    def test_the_figures_of_readmes_are_written_anew(self, command_here: CommandHere, checkout: Path) -> None:
        for said in ("written anew", "as it is in the results"):
            ended = command_here.run("report", "--readme")
            assert ended.code == 0, ended.errors
            assert ended.output == f"README.md: {said}\nbench/README.md: as it is in the results\n"
        assert (checkout / "README.md").read_text() == "87<!-- figure: read; full read; median_ms --> ms\n"

    def test_one_without_a_source_leaves_all_as_they_are(
        self, command_here: CommandHere, checkout: Path
    ) -> None:
        # given
        (checkout / "bench" / "README.md").write_text("2<!-- figure: read; none; median_ms --> ms\n")
        # when
        ended = command_here.run("report", "--readme")
        # then
        assert ended.code == 1
        assert "bench/README.md: read; none; median_ms is not among the results" in ended.error_line
        assert (checkout / "README.md").read_text().startswith("1<!--")

    @pytest.mark.slow
    def test_results_of_another_size_are_kept_apart(
        self, command_here: CommandHere, checkout: Path, empty_database: Database
    ) -> None:
        # given
        (checkout / "bench" / "README.md").write_text("0<!-- figure: XS/overhead; machine; processors -->\n")
        url, page = empty_database.url_as(ADMIN), checkout / "page.html"
        # when
        arguments = ("--suite", "overhead", *TINY, "--database-url", url, "--output", str(page))
        ended = command_here.run("report", "--refresh", *arguments)
        # then
        assert ended.code == 0, ended.errors
        assert MARK in page.read_text()
        assert [path.name for path in (checkout / "bench" / "results" / "XS").iterdir()] == ["overhead.json"]
        assert not (checkout / "bench" / "results" / "overhead.json").exists()
        assert (checkout / "README.md").read_text().startswith("87<!--")
        assert not (checkout / "bench" / "README.md").read_text().startswith("0<!--")


@pytest.mark.slow
class TestInABrowser:
    @pytest.mark.parametrize("is_made_up", [True, False])
    def test_the_plots_are_drawn_and_nothing_else_is_needed(
        self, is_made_up: bool, chromium: Chromium, tmp_path: Path
    ) -> None:
        # given the samples, or what was really measured
        folder = write_results(tmp_path / "results") if is_made_up else COMMITTED
        suites = read_folder(folder)
        path = tmp_path / "page.html"
        path.write_text(render_page(suites), "utf-8")
        # when
        page = chromium.open(path)
        # then
        assert (page.requests, page.complaints) == ([], [])
        plots = page.evaluate("document.querySelectorAll('svg.plot').length")
        assert plots == sum(len(chapter.plots) for chapter in choose_chapters(suites)) >= 10
        for width in (1200, 400):
            page.resize(width)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(EMPTY_PLOTS) == []
            assert page.evaluate(OUTSIDE) == []
            assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(BLACK) == []
        assert page.evaluate(TABLES_SHOWN) == 0
        page.show_as("screen", "dark")
        dark = page.evaluate(BACKGROUND)
        page.show_as("print", "dark")
        assert [dark, page.evaluate(BACKGROUND)] == ["rgb(20, 24, 27)", "rgb(255, 255, 255)"]
        assert page.evaluate(TABLES_SHOWN) == page.evaluate("document.querySelectorAll('table').length")
        page.close()


# Plots without a line, a mark or a bar that can be seen.
EMPTY_PLOTS: Final = """
[...document.querySelectorAll('svg.plot')].filter(plot =>
    ![...plot.querySelectorAll('.curve, .mark, .bar, .part')].some(each => {
        const box = each.getBoundingClientRect(), style = getComputedStyle(each);
        const isPainted = style.fill != 'none' || style.stroke != 'none';
        return box.width + box.height > 1 && isPainted && style.visibility == 'visible';
    })).map(plot => plot.getAttribute('aria-label'))
"""
# Texts and marks that stick out of their plot, or that have no place.
OUTSIDE: Final = """
[...document.querySelectorAll('svg.plot')].flatMap(plot => {
    const frame = plot.closest('figure').getBoundingClientRect();
    return [...plot.querySelectorAll('text, path, rect, polyline')].filter(each => {
        const box = each.getBoundingClientRect();
        return !(box.left >= frame.left - 1 && box.right <= frame.right + 1 &&
                 box.top >= frame.top && box.bottom <= frame.bottom);
    }).map(each => plot.getAttribute('aria-label').slice(0, 30) + ': ' + each.outerHTML);
})
"""
# Texts of one plot that cover each other.
OVERLAPS: Final = """
[...document.querySelectorAll('svg.plot')].flatMap(plot => {
    const texts = [...plot.querySelectorAll('text')]
        .map(each => [each.textContent, each.getBoundingClientRect()]);
    return texts.flatMap(([one, a], number) => texts.slice(number + 1).filter(([other, b]) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
    ).map(([other]) => plot.getAttribute('aria-label').slice(0, 30) + ': ' + one + ' | ' + other));
})
"""
# What the style sheet has given no colour.
BLACK: Final = """
[...document.querySelectorAll('.curve, .range, .mark, .bar, .part')].filter(each =>
    getComputedStyle(each)[each.tagName == 'polyline' ? 'stroke' : 'fill'] == 'rgb(0, 0, 0)' ||
    (each.tagName == 'polyline' && getComputedStyle(each).stroke == 'none')).map(each => each.outerHTML)
"""
TABLES_SHOWN: Final = """
[...document.querySelectorAll('table')].filter(table => table.checkVisibility({contentVisibilityAuto: true})
    && table.getBoundingClientRect().height > 0).length
"""
BACKGROUND: Final = "getComputedStyle(document.documentElement).backgroundColor"

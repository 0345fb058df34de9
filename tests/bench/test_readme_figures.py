"""Every figure of the READMEs that was measured is that of the committed results, and says which."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from bench.data.sizes import SizeName
from bench.report.readme import FIGURE, TABLE, find_readmes, read_results, write_figures
from bench.report.saved import SavedSuite
from bench.suites.registry import SUITES
from scheduler_repo.errors import InvalidInput
from tests.bench.sample_results import sample_case, sample_suite, write_results

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results"
READMES: Final = find_readmes(ROOT)
# A number with a unit of time, size or rate, or that compares; and a cell of a table that is a number.
MEASURED: Final = re.compile(
    r"(?<![\w.])\d[\d.,]*\s*"
    r"(?:(?:ns|µs|us|ms|s|min|h|KiB|MiB|GiB|kB|MB|GB|bytes?|times|seconds?|minutes?)\b"
    r"|[\N{MULTIPLICATION SIGN}x%]|per )"
    r"|\|\s*[\d.,]+\s*(?=\|)"
)
# What has a unit and was not measured, by where it stands: the whole phrase, and what it is.
NOT_MEASURED: Final[Mapping[str, Mapping[str, str]]] = {
    "bench/README.md": {
        "The group that is measured holds 70 %, three others 10 % each.": "bench/data/cluster.py",
        "| XS, for a try: its ratios mean little | 20 | 40 | 100 | 200 |": "bench/data/sizes.py",
        "| S | 100 | 500 | 1,000 | 10,000 |": "bench/data/sizes.py",
        "| M | 1,000 | 5,000 | 10,000 | 100,000 |": "bench/data/sizes.py",
        "| L | 2,000 | 20,000 | 50,000 | 500,000 |": "bench/data/sizes.py",
        "| XL | 10,000 | 100,000 | 200,000 | 2,000,000 |": "bench/data/sizes.py",
    },
    "scheduler_repo/cache/README.md": {
        "learns of a fail-over within some 5 s": "BELIEVED_SECONDS",
        "ends by itself after 10 s": "the default of lifetime",
        "The first call may take 0.15 s longer": "the default of redis_timeout",
    },
    "scheduler_repo/cli/README.md": {
        "the 12 s for what ends after it": "Schedulers.longest_end and the last seconds of an Invocation",
    },
    "scheduler_repo/database/README.md": {
        "as `batch_lock_timeout` says (1 s)": "its default",
        "`connection_lifetime` (300 s)": "its default",
        "after the write and at most every 50 ms": "a bound of the announcements of changes",
    },
    "scheduler_repo/entities/README.md": {
        "1,024 bytes of UTF-8 for what names something": "a CHECK of the tables",
        "at most, in 131,072 bytes": "a CHECK of the tables",
    },
    "scheduler_repo/metrics/README.md": {"A client has 5 s to ask and to read": "a bound of the endpoint"},
    "scheduler_repo/scheduling/README.md": {
        "unpacks to 256 MiB at most": "a bound of snapshot files",
        "only every 5 ms or so": "sys.getswitchinterval()",
    },
    "scheduler_repo/resilience/README.md": {
        "**Deadline.** 60 s, retries included": "the default of TimeoutPolicy",
        "Up to 10, 0.1 s apart": "the defaults of RetryArgs",
    },
}


@pytest.fixture(scope="module")
def results() -> dict[str, SavedSuite]:
    """The committed ones."""
    return read_results(RESULTS)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def find_unsourced(text: str, known: Mapping[str, str]) -> list[str]:
    """The figures of a README that neither have a source nor are known not to be measured."""
    for pattern in (r"```.*?```", TABLE.pattern, FIGURE.pattern + r"\s*\w+"):
        text = re.sub(pattern, "", text, flags=re.DOTALL if pattern.startswith("`") else 0)
    text = re.sub(r"\s+", " ", text)
    for phrase in known:
        text = text.replace(phrase, "")
    return [text[max(0, match.start() - 40) : match.end() + 20] for match in MEASURED.finditer(text)]


class TestTheReadmes:
    @pytest.mark.parametrize("path", READMES, ids=name_of)
    def test_their_figures_are_those_of_the_results(self, path: Path, results: dict[str, SavedSuite]) -> None:
        text = path.read_text("utf-8")
        assert write_figures(text, results, path) == text, "run: python -m bench report --readme"

    @pytest.mark.parametrize("path", READMES, ids=name_of)
    def test_every_figure_has_a_source(self, path: Path) -> None:
        known = NOT_MEASURED.get(name_of(path), {})
        text = path.read_text("utf-8")
        assert find_unsourced(text, known) == [], (
            "name its source as bench.report.readme says, or list it above"
        )
        one_line = re.sub(r"\s+", " ", text)
        assert [phrase for phrase in known if phrase not in one_line] == []

    @pytest.mark.parametrize("path", READMES, ids=name_of)
    def test_the_command_that_measures_it_stands_beside_it(
        self, path: Path, results: dict[str, SavedSuite]
    ) -> None:
        text = re.sub(r"\s+", " ", path.read_text("utf-8"))
        for pattern in (FIGURE, TABLE):
            for match in pattern.finditer(path.read_text("utf-8")):
                suite = results[match["suite"]]
                assert f"`python -m bench {suite.suite} --size {suite.size}`" in text, match[0]

    def test_every_suite_has_results(self, results: dict[str, SavedSuite]) -> None:
        found = {name for name in results if "/" not in name}
        assert found <= set(SUITES)
        # A new suite need not be measured at once, but before it passes the gate.
        missing = set(SUITES) - found if os.environ.get("CI") else set()
        assert missing == set(), "run: python -m bench report --refresh --suite NAME"
        for name, suite in results.items():
            assert name == (suite.suite if suite.size == SizeName.M else f"{suite.size}/{suite.suite}")
            gone = {case.name for case in suite.cases} - set(
                SUITES[suite.suite].case_names(SizeName(suite.size))
            )
            assert gone == set(), f"run: python -m bench report --refresh --suite {suite.suite}"

    def test_some_have_figures(self) -> None:
        found = {name_of(path) for path in READMES if FIGURE.search(path.read_text("utf-8"))}
        assert found >= {"README.md", "bench/README.md", "scheduler_repo/resilience/README.md"}


class TestWriting:
    TEXT: Final = (
        "A read takes 1<!-- figure: read; full read; median_ms --> ms, "
        "(2<!-- figure: read; full read; plain_ms / floor_ms -->) "
        "on 3<!-- figure: read; machine; postgresql.server_version -->, "
        "4<!-- figure: read; machine; load_average.0 -->.\n"
        "<!-- table: read\nfull read: median_ms, ratio_to_floor\n-->\n| | ms | |\n|---|---|---|\n| it | | 9 |\n"
    )

    def write(self, text: str, folder: Path) -> str:
        results = read_results(write_results(folder, sample_suite("read", sample_case("full read", 87.25))))
        return write_figures(text, results, Path("README.md"))

    def test_figures_and_tables_are_written_anew(self, tmp_path: Path) -> None:
        # when
        written = self.write(self.TEXT, tmp_path)
        # then
        shown = re.sub(r"<!--.*?-->\n?", "", written, flags=re.DOTALL)
        assert (
            shown == "A read takes 87.2 ms, (20) on 18.0, 0.1.\n| | ms | |\n|---|---|---|\n| it | 87.2 | 2 |\n"
        )
        assert self.write(written, tmp_path) == written

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "1<!-- figure: raed; full read; median_ms -->",
                "raed; full read; median_ms is not among the results",
            ),
            ("1<!-- figure: read; fool read; median_ms -->", "there is no case 'fool read'"),
            ("1<!-- figure: read; full read; medium_ms -->", "'medium_ms'"),
            ("1<!-- figure: read; machine; speed -->", "'speed'"),
            (
                "<!-- table: read\na: n\nb: n\n-->\n| | n |\n|---|---|\n| a | 1 |\n",
                "names 2 rows, the table has 1",
            ),
        ],
    )
    def test_what_has_no_source_is_named(self, text: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=re.escape(said)):
            self.write(text, tmp_path)

    @pytest.mark.parametrize(
        "text",
        [
            "It takes 87 ms.",
            "It is 3.5 times faster.",
            "20\N{MULTIPLICATION SIGN} as fast",
            "1.2 KiB a session",
            "| a read | 87 |",
            "9 %",
        ],
    )
    def test_a_figure_without_a_source_is_seen(self, text: str) -> None:
        assert find_unsourced(text, {}) != []
        assert find_unsourced(text, {text: "made up"}) == []

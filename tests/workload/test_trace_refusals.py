"""A trace that cannot be taken exactly is refused with one line that says where."""

import tracemalloc
from pathlib import Path

import pytest

from scheduler_repo.workload import trace_file
from tests.workload.trace_folder import NODE, NODE_HEADER, POD, POD_HEADER, TraceFolder, pod


class TestRefusedNodes:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            pytest.param("n1,1,1,1", "has 4 fields", id="too few fields"),
            pytest.param("n1,1,1,1,T4,x", "has 6 fields", id="too many fields"),
            pytest.param("n1,-1,1,1,T4", "cpu_milli must be", id="negative"),
            pytest.param("n1,1,1.5,1,T4", "memory_mib must be", id="fraction"),
            pytest.param("n1,1,1,one,T4", "gpu must be", id="not a number"),
            pytest.param("n1,NaN,1,1,T4", "cpu_milli must be", id="NaN"),
            pytest.param("n1,inf,1,1,T4", "cpu_milli must be", id="infinite"),
            pytest.param("n1,,1,1,T4", "cpu_milli must be", id="no amount"),
            pytest.param("n1,1_000,1,1,T4", "cpu_milli must be", id="underscore"),
            pytest.param("n1,+1,1,1,T4", "cpu_milli must be", id="sign"),
            pytest.param("n1, 1,1,1,T4", "cpu_milli must be", id="space"),
            pytest.param("n1,٣,1,1,T4", "cpu_milli must be", id="digits of another script"),
            pytest.param(f"n1,{2**63},1,1,T4", "cpu_milli '9223372036854775808' is above", id="above 63 bits"),
            pytest.param(f"n1,1,{2**43},1,T4", "memory_mib '8796093022208' is above", id="above, in bytes"),
            pytest.param(
                f"n1,1,1,{2**63 // 1000 + 1},T4", "gpu '9223372036854776' is above", id="above, in shares"
            ),
            pytest.param("n1," + "9" * 5000 + ",1,1,T4", "cpu_milli must be", id="thousands of digits"),
            pytest.param("n1,0,0,0,", "the node has no capacity", id="no capacity"),
            pytest.param("n0,1,1,1,T4", "sn 'n0' is taken: it was first used in line 2", id="duplicate"),
            pytest.param(",1,1,1,T4", "sn is empty", id="empty name"),
            pytest.param("  ,1,1,1,T4", "sn is empty", id="blank name"),
            pytest.param("n\0,1,1,1,T4", "sn has the control or invisible character U+0000", id="NUL"),
            pytest.param('"n\n1",1,1,1,T4', "sn has the control or invisible character U+000A", id="newline"),
            pytest.param("n1,1,1,1,T\x1b4", "model has the control or invisible character U+001B", id="model"),
            pytest.param("n" * 256 + ",1,1,1,T4", "sn has 256 characters", id="long name"),
            pytest.param("no-agent-of-model:T4,1,1,1,T4", "sn starts with", id="reserved name"),
            pytest.param('n1,1,1,1,"T4', "is not CSV", id="open quote"),
            pytest.param("n1,1,1,1," + "x" * 200_000, "is not CSV", id="huge field"),
        ],
    )
    def test_a_bad_row(self, trace: TraceFolder, row: str, reason: str) -> None:
        # Given
        trace.write_nodes(NODE, row, "n2,1,1,1,T4")

        # When
        message = trace.refusal()

        # Then
        assert message.startswith(f"{trace.nodes}, line 3: {reason}")
        assert message.isprintable()
        assert len(message) < len(str(trace.nodes)) + 300


class TestRefusedTasks:
    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            pytest.param(pod() + ",x", "has 9 fields", id="too many fields"),
            pytest.param("p1", "has 1 fields", id="too few fields"),
            pytest.param(pod(cpu="-1"), "cpu_milli must be", id="negative cpu"),
            pytest.param(pod(mem="0.5"), "memory_mib must be", id="fraction of memory"),
            pytest.param(pod(gpus="nan"), "num_gpu must be", id="NaN GPUs"),
            pytest.param(pod(milli="half"), "gpu_milli must be", id="share is a word"),
            pytest.param(pod(created="-1"), "creation_time must be", id="before the trace"),
            pytest.param(pod(created="1.5"), "creation_time must be", id="fraction of a second"),
            pytest.param(pod(created=str(10**10 + 1)), "creation_time 10000000001 is above", id="far ahead"),
            pytest.param(pod(mem=str(2**43)), "memory_mib '8796093022208' is above", id="bytes above 63 bits"),
            pytest.param(
                pod(gpus=str(2**40), milli=str(2**40)),
                "num_gpu * gpu_milli '1099511627776 * ",
                id="shares above 63 bits",
            ),
            pytest.param(pod(cpu="0", mem="0", gpus="0"), "the task asks for nothing", id="nothing asked"),
            pytest.param(pod("p0"), "name 'p0' is taken: it was first used in line 2", id="duplicate"),
            pytest.param(pod(""), "name is empty", id="empty name"),
            pytest.param(
                pod("p\x07"), "name has the control or invisible character U+0007", id="control character"
            ),
            pytest.param(pod(qos=""), "qos is empty", id="no class"),
            pytest.param(
                pod(qos="L\0S"), "qos has the control or invisible character U+0000", id="class with NUL"
            ),
            pytest.param(pod(spec="T4||G2"), "a model of gpu_spec is empty", id="empty model"),
            pytest.param(pod(spec="T4|\0"), "a model of gpu_spec has the control", id="model with NUL"),
        ],
    )
    def test_a_bad_row(self, trace: TraceFolder, row: str, reason: str) -> None:
        # Given
        trace.write_pods(POD, row, pod("p2"))

        # When
        message = trace.refusal()

        # Then
        assert message.startswith(f"{trace.pods}, line 3: {reason}")
        assert message.isprintable()

    def test_a_row_that_spans_lines_is_named_by_its_first(self, trace: TraceFolder) -> None:
        # Given
        trace.write_pods(POD + ",ok", pod(cpu="x") + ',"two\nlines"', header=POD_HEADER + ",note")

        # Then
        assert trace.refusal().startswith(f"{trace.pods}, line 3: cpu_milli must be")

    def test_more_tasks_in_a_second_than_it_has_microseconds(
        self, trace: TraceFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given
        monkeypatch.setattr("scheduler_repo.workload.trace.MAX_TASKS_PER_SECOND", 2)
        trace.write_pods(*(pod(name) for name in "abc"))

        # Then
        assert trace.refusal().startswith(f"{trace.pods}, line 4: more than 2 tasks have creation_time 7")


class TestRefusedFiles:
    @pytest.mark.parametrize(
        ("content", "line", "reason"),
        [
            pytest.param(b"", 1, "is empty", id="empty"),
            pytest.param(b"\xef\xbb\xbf", 1, "is empty", id="only a byte order mark"),
            pytest.param(b"\n\n", 1, "is empty", id="only blank lines"),
            pytest.param(
                b"sn,cpu_milli,gpu,model\n", 1, "the header lacks memory_mib", id="a column is missing"
            ),
            pytest.param((NODE_HEADER + ",sn\n").encode(), 1, "the header names sn more than once", id="twice"),
            pytest.param(NODE_HEADER.encode("utf-16"), 1, "is not UTF-8 at byte 1", id="UTF-16"),
            pytest.param(
                NODE_HEADER.encode() + b"\nn0,1,\xff,1,T4\n", 2, "is not UTF-8 at byte 6", id="not UTF-8"
            ),
            pytest.param(
                f"{NODE_HEADER}\n\n{NODE}\n".encode(), 2, "is blank, but rows follow in line 3", id="gap"
            ),
            pytest.param(f"{NODE_HEADER}\r{NODE}\r".encode(), 1, "is not CSV", id="bare carriage returns"),
        ],
    )
    def test_bad_content(self, trace: TraceFolder, content: bytes, line: int, reason: str) -> None:
        # Given
        trace.nodes.write_bytes(content)

        # When
        message = trace.refusal()

        # Then
        assert message.startswith(f"{trace.nodes}, line {line}: {reason}")
        assert message.isprintable()

    def test_a_missing_file(self, trace: TraceFolder) -> None:
        # Given
        trace.pods.unlink()

        # Then
        assert trace.refusal().startswith(f"{trace.pods}: cannot be read: No such file or directory")

    def test_a_directory(self, trace: TraceFolder) -> None:
        # Given
        trace.nodes.unlink()
        trace.nodes.mkdir()

        # Then
        assert trace.refusal().startswith(f"{trace.nodes}: cannot be read: Is a directory")

    def test_an_unreadable_file(self, trace: TraceFolder) -> None:
        # Given: a link to itself, which not even root can open
        trace.nodes.unlink()
        trace.nodes.symlink_to(trace.nodes)

        # Then
        assert trace.refusal().startswith(f"{trace.nodes}: cannot be read: ")

    def test_a_path_with_nul(self, trace: TraceFolder) -> None:
        # Given
        trace.nodes = Path("nodes\0.csv")

        # Then
        assert trace.refusal().startswith(r"'nodes\x00.csv': cannot be read: ")


class TestWithoutABound:
    @pytest.mark.parametrize("which", ["nodes", "pods"])
    @pytest.mark.parametrize("source", ["/dev/zero", "/dev/urandom", "line of 1 GB", "quoted field of 1 GB"])
    def test_a_line_is_refused_in_little_memory(self, trace: TraceFolder, which: str, source: str) -> None:
        # Given
        path = getattr(trace, which)
        if source.startswith("/dev"):
            path.unlink()
            path.symlink_to(source)
        else:
            with path.open("ab") as file:
                file.write(b'"\n' if "quoted" in source else b"")
                file.truncate(2**30)
        # When
        tracemalloc.start()
        try:
            message = trace.refusal()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # Then
        assert most < 16 * 2**20
        assert source == "/dev/urandom" or "above 1048576 bytes, the limit" in message

    def test_a_row_of_many_short_lines_is_refused(self, trace: TraceFolder) -> None:
        # Given: each line ends one quoted field and begins the next
        with trace.nodes.open("a", encoding="utf-8") as file:
            file.write('"\n' + '","\n' * 2**19)
        # When
        message = trace.refusal()
        # Then
        assert message.startswith(f"{trace.nodes}, line ")
        assert "is above 1048576 bytes, the limit of a row" in message

    @pytest.mark.parametrize("which", ["nodes", "pods"])
    def test_rows_without_end_are_refused(
        self, trace: TraceFolder, monkeypatch: pytest.MonkeyPatch, which: str
    ) -> None:
        monkeypatch.setattr(trace_file, "MAX_ROWS", 5)
        trace.write_nodes(*(f"n{number},1,1,1,T4" for number in range(9 if which == "nodes" else 1)))
        trace.write_pods(*(pod(f"p{number}") for number in range(9 if which == "pods" else 1)))
        message = trace.refusal()
        assert message == f"{getattr(trace, which)}, line 7: is above 5 rows, the limit; give a shorter trace"

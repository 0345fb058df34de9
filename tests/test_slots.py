"""Amounts: exact or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo.errors import InvalidQuantity, UnknownSlotType
from scheduler_repo.slots import (
    MAX_QUANTITY,
    checked_quantity,
    format_quantity,
    parse_quantity,
    slot_limits,
    slot_vector,
)
from scheduler_repo.types import SlotName

CPU, MEM = SlotName("cpu"), SlotName("mem")
UNITS = st.sampled_from([1, 1000, 10**9])


class TestCheckedQuantity:
    @pytest.mark.parametrize("value", [0, 1, MAX_QUANTITY])
    def test_whole_amounts_pass(self, value: int) -> None:
        assert checked_quantity(value, "cpu") == value

    @pytest.mark.parametrize("value", [-1, MAX_QUANTITY + 1, 1.0, True, "1", None, float("nan"), Decimal(1)])
    def test_anything_else_is_refused_by_name(self, value: object) -> None:
        with pytest.raises(InvalidQuantity, match="agent a, slot cpu"):
            checked_quantity(value, "agent a, slot cpu")


class TestParseQuantity:
    @pytest.mark.parametrize(
        ("text", "units", "amount"),
        [
            ("0.46", 1000, 460),
            ("12", 1, 12),
            ("1e3", 1, 1000),
            ("0", 1000, 0),
            ("9223372036854775807", 1, MAX_QUANTITY),
        ],
    )
    def test_decimals_are_exact(self, text: str, units: int, amount: int) -> None:
        assert parse_quantity(text, units, "cpu") == amount

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "x",
            "nan",
            "inf",
            "-inf",
            "-1",
            "-0.001",
            "0.0001",
            "1.00000000000000000000000000000001",
            "9223372036854775808",
            "1e400",
            "1e999999999",
            "-1e400",
            "1" * 5000,
        ],
    )
    def test_what_cannot_be_stored_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidQuantity, match="cpu"):
            parse_quantity(text, 1000, "cpu")

    @given(amount=st.integers(0, MAX_QUANTITY), units=UNITS)
    def test_what_is_written_is_read_back(self, amount: int, units: int) -> None:
        assert parse_quantity(format_quantity(amount, units), units, "cpu") == amount


class TestVectors:
    def test_amounts_are_arranged_by_slot(self) -> None:
        assert slot_vector({MEM: 5}, [CPU, MEM], "kernel 0") == (0, 5)
        assert slot_limits({MEM: 0}, [CPU, MEM], "quota") == (None, 0)

    def test_an_unknown_slot_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(UnknownSlotType, match=r"kernel 0: unknown slot tpu; the cluster has cpu, mem"):
            slot_vector({SlotName("tpu"): 1}, [CPU, MEM], "kernel 0")

    def test_a_bad_amount_is_named(self) -> None:
        with pytest.raises(InvalidQuantity, match="kernel 0, slot mem: -5 is negative"):
            slot_vector({MEM: -5}, [CPU, MEM], "kernel 0")

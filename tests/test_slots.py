"""Amounts: exact or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo.errors import InvalidQuantity, UnknownSlotType
from scheduler_repo.slots import format_quantity, slot_limits, slot_vector
from scheduler_repo.types import SlotName
from scheduler_repo.validation import MAX_QUANTITY, check_amount

CPU, MEM = SlotName("cpu"), SlotName("mem")
UNITS = st.sampled_from([1, 1000, 10**9])


class TestCheckAmount:
    @pytest.mark.parametrize("value", [0, 1, MAX_QUANTITY])
    def test_whole_amounts_pass(self, value: int) -> None:
        check_amount(value, "cpu")

    @pytest.mark.parametrize("value", [-1, MAX_QUANTITY + 1, 1.0, True, "1", None, float("nan"), Decimal(1)])
    def test_anything_else_is_refused_by_name(self, value: object) -> None:
        with pytest.raises(InvalidQuantity, match="agent a, slot cpu"):
            check_amount(value, "agent a, slot cpu")


class TestFormatQuantity:
    @pytest.mark.parametrize(("amount", "text"), [(0, "0"), (460, "0.46"), (12_000, "12"), (1, "0.001")])
    def test_decimals_are_short(self, amount: int, text: str) -> None:
        assert format_quantity(amount, 1000) == text

    @given(amount=st.integers(0, MAX_QUANTITY), units=UNITS)
    def test_what_is_written_is_exact(self, amount: int, units: int) -> None:
        assert Decimal(format_quantity(amount, units)) * units == amount


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

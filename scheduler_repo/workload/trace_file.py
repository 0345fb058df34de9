"""One CSV file of a trace: its rows and fields, refused with file and line where they are wrong."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from scheduler_repo.errors import InvalidTrace
from scheduler_repo.validation import MAX_QUANTITY

MAX_NAME_LENGTH = 255
# Far above what any trace has, and little enough to be held.
MAX_LINE_BYTES = 2**20
MAX_ROWS = 1_000_000
_MAX_DIGITS = 64  # far above 63 bits; int() itself refuses very long texts by another error
_SHOWN_CHARACTERS = 60


class TracePlace(msgspec.Struct, frozen=True, gc=False):
    """A line of a file, 1 is the first; of a row that spans several lines, its first."""

    path: Path
    line: int

    def error(self, problem: str) -> InvalidTrace:
        """Make the error that says what is wrong here."""
        return InvalidTrace(f"{self.path}, line {self.line}: {problem}")

    def parse_whole_number(self, column: str, text: str, factor: int = 1) -> int:
        """Read a field as a whole number and multiply it by ``factor``, smallest units in the field's unit.

        Raises InvalidTrace for anything but decimal digits, and for a product above 63 bits.
        """
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            raise self.error(f"{column} must be a whole number from 0 to 2^63 - 1, found {shorten(text)!r}")
        return self.check_amount(column, text, int(text) * factor)

    def check_amount(self, column: str, text: str, amount: int) -> int:
        """Return ``amount``, what ``text`` means in smallest units; raises InvalidTrace above 63 bits."""
        if amount > MAX_QUANTITY:
            most = "2^63 - 1 smallest units, the most that can be stored"
            raise self.error(f"{column} {shorten(text)!r} is above {most}")
        return amount

    def check_name(self, column: str, text: str) -> str:
        """Return ``text`` if it can name something; raises InvalidTrace if empty, too long or not printable."""
        if not text.strip():
            raise self.error(f"{column} is empty; a name is needed")
        for character in text:
            if not character.isprintable():
                found = f"the control or invisible character U+{ord(character):04X}"
                raise self.error(f"{column} has {found}; remove it")
        if len(text) > MAX_NAME_LENGTH:
            raise self.error(f"{column} has {len(text)} characters; a name may have {MAX_NAME_LENGTH}")
        return text


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[TracePlace, list[str]]]:
    """Yield the place of every row of a CSV file and its fields of ``columns``, in that order.

    The first line is the header; other columns are ignored, a byte order mark and blank lines at the end too.
    Raises InvalidTrace for a file that cannot be read, is not UTF-8 or not CSV, is empty or lacks a column, has
    a row of over 1 MiB or over 1,000,000 rows, and for a row with more or fewer fields than the header.
    Streams: memory does not grow with the file.
    """
    if "\0" in str(path):
        raise InvalidTrace(
            f"{str(path)!r}: cannot be read: a path has no NUL character; give a readable CSV file"
        )
    try:
        with path.open("rb") as file:
            yield from _parse_rows(path, file, columns)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidTrace(f"{path}: cannot be read: {reason}; give a readable CSV file") from error


def _parse_rows(path: Path, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[TracePlace, list[str]]]:
    rows = _split_rows(path, file)
    header_place, header = next(rows, (TracePlace(path, 1), []))
    if not header:
        raise header_place.error(f"is empty; the first line must name the columns {', '.join(columns)}")
    missing = [column for column in columns if column not in header]
    if missing:
        lacking = f"the header lacks {', '.join(missing)}"
        raise header_place.error(f"{lacking}; it has {shorten(', '.join(header))}")
    repeated = [column for column in columns if header.count(column) > 1]
    if repeated:
        raise header_place.error(f"the header names {', '.join(repeated)} more than once")
    positions = [header.index(column) for column in columns]
    blank = None
    for number, (place, fields) in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise place.error(f"is above {MAX_ROWS} rows, the limit; give a shorter trace")
        if not fields or (len(fields) == 1 and not fields[0].strip()):
            blank = blank or place
            continue
        if blank is not None:
            raise blank.error(f"is blank, but rows follow in line {place.line}; remove it")
        if len(fields) != len(header):
            raise place.error(f"has {len(fields)} fields, but the header names {len(header)} columns")
        yield place, [fields[position] for position in positions]


def _split_rows(path: Path, file: BinaryIO) -> Iterator[tuple[TracePlace, list[str]]]:
    lines = _Lines(path, file)
    reader = csv.reader(lines, strict=True)
    while True:
        place = lines.begin_row()
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise place.error(f"is not CSV: {error}") from error
        if fields is None:
            return
        yield place, fields


class _Lines:
    """The lines of a file, decoded one by one, so that an error knows its line; a row may span several."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._number = 0
        self._row = TracePlace(path, 1)
        self._row_bytes = 0

    def begin_row(self) -> TracePlace:
        """Let the next line be the first of a row, and return its place."""
        self._row, self._row_bytes = TracePlace(self._path, self._number + 1), 0
        return self._row

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Return the next line; raises InvalidTrace for a row that is too long, and for what is not UTF-8."""
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._row_bytes += len(line)
        if self._row_bytes > MAX_LINE_BYTES:
            raise self._row.error(
                f"is above {MAX_LINE_BYTES} bytes, the limit of a row; give a CSV file with a row per line"
            )
        content = line.removeprefix(codecs.BOM_UTF8) if self._number == 1 else line
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TracePlace(self._path, self._number).error(
                f"is not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
            ) from error


def shorten(text: str) -> str:
    """Cut a text that is too long for a message."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

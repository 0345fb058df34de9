"""The arrays of PostgreSQL's own types, so that the driver need not ask the server about them."""

import contextlib
from typing import Final

import asyncpg

# By the array's oid: the element's name and oid. PostgreSQL's own oids never change.
_ARRAYS: Final = {
    1000: ("bool", 16),
    1002: ("char", 18),
    1005: ("int2", 21),
    1007: ("int4", 23),
    1016: ("int8", 20),
    1185: ("timestamptz", 1184),
    2951: ("uuid", 2950),
}
# As the driver's own question, which each new connection puts for each of them, is answered.
_RECORDS: Final = tuple(
    {
        "oid": oid,
        "ns": "pg_catalog",
        "name": f"_{element}",
        "kind": b"b",
        "basetype": None,
        "elemtype": element_oid,
        "elemdelim": ",",
        "range_subtype": None,
        "attrtypoids": None,
        "attrnames": None,
        "basetype_name": None,
        "elemtype_name": element,
        "range_subtype_name": None,
    }
    for oid, (element, element_oid) in _ARRAYS.items()
)


def describe_arrays(driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare a new connection a round trip, and the server some milliseconds, for each of these types."""
    # Not the driver's public way: one without it asks the server as ever, which costs time and no more.
    with contextlib.suppress(AttributeError, LookupError, TypeError):
        driver._protocol.get_settings().register_data_types(_RECORDS)

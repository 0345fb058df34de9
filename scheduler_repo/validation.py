"""Argument checks, made before any query; ``subject`` names the value in the message.

Each raises InvalidInput, or the kind of it that is named. Ranges of numbers are msgspec's constraints; their
descriptions say what to give.
"""

import enum
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from scheduler_repo.errors import InvalidInput, InvalidLimit, InvalidQuantity
from scheduler_repo.quoting import printable, quoted, with_article
from scheduler_repo.types import OWNER_FIELDS, OwnerScope

T = TypeVar("T")
# The error that a check raises.
Refusal = type[InvalidInput]

MAX_QUANTITY: Final = 2**63 - 1
LARGEST_PAGE: Final = 1_000
MAX_BATCH_SIZE: Final = 10_000
# In bytes of UTF-8, as CHECKs of the tables hold it: of what names something, and of a reason.
LONGEST_NAME: Final = 1_024
LONGEST_REASON: Final = 131_072
# Of a list of agents' ids that a session has: how many, and all of them in bytes.
MOST_AGENT_IDS: Final = 4_096
LONGEST_AGENT_IDS: Final = 131_072

Amount = Annotated[int, Meta(ge=0, le=MAX_QUANTITY)]
Epoch = Annotated[int, Meta(ge=0, le=2**63 - 1, description="as acquire_lease() answered it")]
Count = Annotated[int, Meta(ge=0, lt=2**31, description="a whole number from 0 to 2^31 - 1")]
Int32 = Annotated[int, Meta(ge=-(2**31), lt=2**31, description="a whole number of 32 bits")]
PageLimit = Annotated[int, Meta(ge=1, le=LARGEST_PAGE, description="a whole number from 1 to 1000")]
BatchSize = Annotated[int, Meta(ge=1, le=MAX_BATCH_SIZE, description="a whole number from 1 to 10000")]
# As a statement takes it: an int4, or a bigint.
Limit31 = Annotated[int, Meta(ge=1, lt=2**31, description="a whole number from 1 to 2^31 - 1")]
Limit63 = Annotated[int, Meta(ge=1, le=2**63 - 1, description="a whole number from 1 to 2^63 - 1")]
PoolSize = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
RetryCount = Annotated[int, Meta(ge=0, description="a number of retries, 0 or more")]
FailureCount = Annotated[int, Meta(ge=1, description="a number of failures, 1 or more")]
Seconds = Annotated[float, Meta(gt=0, le=86_400, description="seconds above 0, at most 86400")]
# Servers take whole milliseconds, and 0 for no bound at all.
WaitSeconds = Annotated[float, Meta(gt=0, le=3_600, description="seconds above 0, at most 3600")]
Bound = Annotated[float, Meta(ge=0.001, le=86_400, description="0.001 to 86400 seconds")]
RetryWait = Annotated[float, Meta(ge=0, le=3600, description="0 to 3600 seconds")]
Recovery = Annotated[float, Meta(gt=0, le=3600, description="seconds above 0, at most 3600")]
Staleness = Annotated[
    float, Meta(ge=0, le=sys.float_info.max, description="a finite number of seconds, 0 or more")
]

# Less, and a write could be purged while its caller still asks for it again.
_SHORTEST_RETENTION: Final = timedelta(hours=1)
# More is taken for a mistake.
_LONGEST_RETENTION: Final = timedelta(days=36_500)

# As PostgreSQL writes it, and the tables' CHECKs want it.
_UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_kind(value: object, kind: type, subject: str, refusal: Refusal = InvalidInput) -> None:
    """Raise ``refusal`` unless the value is of a class; a word is no member of an enum."""
    if not isinstance(value, kind):
        raise wrong_value(value, subject, expected_of(kind), refusal)


def checked_sequence(items: object, subject: str) -> Sequence[object]:
    """Return ``items``; raises InvalidInput for what is no list, such as None or one thing for several."""
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes, bytearray)):
        found = "one text" if isinstance(items, str) else with_article(type(items))
        raise InvalidInput(f"{subject} are {quoted(items)}, {found}; give a list or a tuple")
    return items


def checked_batch(items: object, kind: type[T], subject: str) -> list[T]:
    """Return a list of structs of one kind; raises InvalidInput for anything else."""
    batch: list[T] = []
    for item in checked_sequence(items, subject):
        if not isinstance(item, kind):
            found, wanted = with_article(type(item)), with_article(kind)
            raise InvalidInput(f"{subject}: {quoted(item)} is {found}; give {wanted} for each")
        batch.append(item)
    return batch


def expected_of(kind: type) -> str:
    """Describe a value of a class; an enum's words are listed."""
    if issubclass(kind, enum.Enum):
        return f"{with_article(kind)} ({', '.join(str(member.value) for member in kind)})"
    return {bool: "True or False", datetime: "a datetime with a time zone"}.get(kind, with_article(kind))


def wrong_value(value: object, subject: str, expected: str, refusal: Refusal = InvalidInput) -> InvalidInput:
    """Make the error for a value that is not what it must be."""
    return refusal(f"{subject} is {quoted(value)}, it must be {expected}")


def check_id(value: object, entity: str) -> None:
    """Raise InvalidInput for what is no UUID; ``entity`` says whose id it is to be."""
    if not isinstance(value, UUID):
        raise InvalidInput(f"{entity} id {quoted(value)} is {with_article(type(value))}, it must be a UUID")


def check_ids(ids: object, entity: str) -> None:
    """Raise InvalidInput for what is no list, and for the first id that is no UUID."""
    for each in checked_sequence(ids, f"{entity} ids"):
        check_id(each, entity)


def is_text(value: object) -> bool:
    """Whether a value is a str without lone surrogates; no stored text holds a NUL, which this one may."""
    return isinstance(value, str) and (value.isascii() or printable(value) == value)


def check_text(
    value: object, subject: str, refusal: Refusal = InvalidInput, *, longest: int = LONGEST_NAME
) -> None:
    """Raise ``refusal`` for what is no text, has over ``longest`` bytes, or holds a NUL or a lone surrogate."""
    check_length(value, subject, refusal, longest=longest)
    if not isinstance(value, str) or "\0" in value or not is_text(value):
        raise refusal(f"{subject} {quoted(value)} is no text that can be stored; leave out NUL and surrogates")


def check_length(
    value: object, subject: str, refusal: Refusal = InvalidInput, *, longest: int = LONGEST_NAME
) -> None:
    """Raise ``refusal`` for a text of over ``longest`` bytes of UTF-8; what is no text passes."""
    if not isinstance(value, str) or 4 * len(value) <= longest:
        return
    # A character has a byte at least: what is far too long is not copied.
    length = len(value) if len(value) > longest else len(value.encode("utf-8", "surrogatepass"))
    if length > longest:
        raise refusal(
            f"{subject} {quoted(value[:LONGEST_NAME])} is above {longest} bytes, the limit; give a shorter text"
        )


def check_reason(value: object) -> None:
    """Raise InvalidInput for what is neither None nor a text that can be stored as a reason."""
    if value is not None:
        check_text(value, "the reason", longest=LONGEST_REASON)


def check_stored_agent_ids(agent_ids: Sequence[str], subject: str) -> None:
    """Raise InvalidInput for more agents' ids than a session can have, and for one that cannot be an id."""
    if len(agent_ids) > MOST_AGENT_IDS:
        raise InvalidInput(f"{subject}s: {len(agent_ids)} are above the limit of {MOST_AGENT_IDS}; give fewer")
    for agent_id in agent_ids:
        check_text(agent_id, subject)
        if not agent_id:
            raise InvalidInput(f"{subject} '' is empty; give ids of agents")
    if len(agent_ids) * LONGEST_NAME > LONGEST_AGENT_IDS:
        check_length("".join(agent_ids), f"{subject}s together:", longest=LONGEST_AGENT_IDS)


def check_name(value: object, subject: str) -> None:
    """Raise InvalidInput for what is no text that can be stored, or is empty."""
    check_text(value, subject)
    if not value:
        raise InvalidInput(f"{subject} is empty; give it one")


def check_agent_ids(agent_ids: object) -> None:
    """Raise InvalidInput for what is no list of texts; an id with a NUL is one that no agent has."""
    for given in checked_sequence(agent_ids, "agent ids"):
        check_length(given, "agent id")
        if not is_text(given):
            half = "a text with half of a surrogate pair"
            found = half if isinstance(given, str) else with_article(type(given))
            raise InvalidInput(f"agent id {quoted(given)} is {found}, it must be a str")


def check_owner_id(scope: object, owner_id: object) -> None:
    """Raise InvalidInput for an owner that cannot be: an unknown scope, or an id that the scope cannot have."""
    if not isinstance(scope, OwnerScope):
        raise wrong_value(scope, "scope", expected_of(OwnerScope))
    check_name(owner_id, f"{scope} id")
    if OWNER_FIELDS[scope].id_type is UUID and not _UUID_TEXT.fullmatch(str(owner_id)):
        raise InvalidInput(
            f"{scope} id {quoted(owner_id)}: a user or project is named by its UUID in lower case, as text"
        )


def check_range(value: object, constraint: object, subject: str, refusal: Refusal = InvalidInput) -> None:
    """Raise ``refusal`` unless the value is a number that a constraint of this module allows."""
    # A bool is an int to Python, and msgspec would take a Decimal for a float.
    if type(value) not in (int, float) or not _is_allowed(value, constraint):
        raise wrong_value(value, subject, described(constraint), refusal)


def check_fields(struct: msgspec.Struct, refusal: Refusal = InvalidInput) -> None:
    """Check the fields of a struct whose types have a description, as structs do not when they are made."""
    for field in msgspec.structs.fields(struct):
        if described(field.type):
            value, subject = getattr(struct, field.name), f"{type(struct).__name__}.{field.name}"
            if not _is_allowed(value, field.type):
                raise wrong_value(value, subject, described(field.type), refusal)


def described(constraint: object) -> str:
    """Return the description of a constraint; empty if it has none."""
    metas = [part.description for part in get_args(constraint) if isinstance(part, Meta)]
    return metas[0] or "" if metas else ""


def check_limit(limit: object) -> None:
    """Raise InvalidLimit for what is no whole number from 1 to 1,000."""
    check_range(limit, PageLimit, "limit", InvalidLimit)


def check_staleness(max_staleness: object, *, has_cache: bool = True) -> None:
    """Raise InvalidInput unless it is a finite number of seconds, 0 or more, and 0 where there is no cache."""
    check_range(max_staleness, Staleness, "max_staleness")
    if max_staleness and not has_cache:
        raise InvalidInput(
            f"max_staleness is {quoted(max_staleness)}, and there is no cache that could answer; open the "
            "repositories with a redis_url, give this one a cache_source, or leave max_staleness out"
        )


def check_amount(value: object, subject: str) -> None:
    """Raise InvalidQuantity unless the value is a whole number from 0 to 2**63 - 1, in smallest units.

    Floats and booleans too are refused, as neither says exactly how many units are meant.
    """
    if type(value) is not int:
        raise InvalidQuantity(
            f"{subject}: {quoted(value)} is not a whole number of the slot's smallest unit; give an int"
        )
    if not _is_allowed(value, Amount):
        problem = "negative; amounts start at 0"
        if value > 0:
            problem = "above 2^63 - 1, the largest amount that can be stored"
        raise InvalidQuantity(f"{subject}: {quoted(value)} is {problem}")


def check_count(count: object, subject: str) -> None:
    """Raise InvalidInput unless it limits a number of things: 0 to 2**31 - 1, or None for no limit."""
    if count is not None:
        check_amount(count, subject)
        check_range(count, Count, subject)


def _is_allowed(value: object, constraint: object) -> bool:
    try:
        msgspec.convert(value, constraint)
    except msgspec.ValidationError:
        return False
    return True


def check_time(value: object, subject: str, refusal: Refusal = InvalidInput) -> None:
    """Raise ``refusal`` for what is no datetime with a time zone, or does not exist in UTC."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise wrong_value(value, subject, expected_of(datetime), refusal)
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise wrong_value(value, subject, "a datetime that exists in UTC", refusal) from None


def check_duration(
    value: object,
    subject: str,
    expected: str = "a timedelta above 0",
    *,
    least: timedelta = timedelta.resolution,
    most: timedelta = timedelta.max,
) -> None:
    """Raise InvalidInput unless it is a timedelta from ``least`` to ``most``; ``expected`` says so."""
    if not isinstance(value, timedelta) or not least <= value <= most:
        found = value if isinstance(value, timedelta) else quoted(value)
        raise InvalidInput(f"{subject} is {found}, it must be {expected}")


def check_retention(older_than: object, resolve_timeout: float) -> None:
    """Raise InvalidInput unless what has ended is kept for long enough, and for no absurd time.

    ``resolve_timeout``, in seconds, is how long the engine asks after a write whose COMMIT was lost.
    """
    # Twice, as the age of a write counts from its beginning.
    least = max(_SHORTEST_RETENTION, 2 * timedelta(seconds=resolve_timeout))
    check_duration(
        older_than,
        "the age of what is purged",
        f"in range: the least is {least} (a write asked for again under its operation id must find it), "
        f"the most is {_LONGEST_RETENTION.days} days",
        least=least,
        most=_LONGEST_RETENTION,
    )

"""The digest by which a write that is asked for again is known to be the same.

Equal requests have equal digests, whatever the order of their mappings and sets, and whichever version of this
package asks: a field that a struct got later is left out while it has its default.
"""

import enum
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import msgspec

from scheduler_repo.entities.spec import encode_value
from scheduler_repo.errors import InvalidInput
from scheduler_repo.steps import Steps

# The fields that were there when digests began to leave out defaults, and are in every digest, default or not.
# Never change a line, and never add one: of a struct that is not here only fields without a default always are.
_FIRST_FIELDS: Final[Mapping[str, str]] = {
    "AgentReport": "agent_id capacity max_containers address architecture",
    "AgentSpec": "agent_id scaling_group address architecture capacity max_containers",
    "ClusterSpec": "slot_types scaling_groups agents owners sessions",
    "KernelSpec": "requested_slots image architecture kernel_id",
    "MountSpec": "vfolder_id mount_path permission",
    "OwnersSpec": "domains projects users keypairs resource_policies quotas",
    "QuotaSpec": "scope owner_id resource_policy slot_limits max_concurrent_sessions",
    "ResourcePolicySpec": "name slot_limits max_concurrent_sessions max_kernels_per_session",
    "ScalingGroupChanges": "is_active is_public pending_timeout preemption_scope preemption_min_runtime",
    "ScalingGroupSpec": "name is_active is_public pending_timeout preemption_scope preemption_min_runtime",
    "SessionChange": "session_id result exit_codes occupied_slots failed_agent_ids retry_count",
    "SessionCreationSpec": "name scaling_group access_key user_id project_id domain_name kernels session_type "
    "cluster_mode priority created_at requested_start_at designated_agent_ids depends_on mounts session_id",
    "SessionReservation": "session_id kernels victims",
    "SlotTypeSpec": "name units_per_whole display_unit",
    "VFolderSpec": "name host user_id project_id vfolder_id",
}
_SCALARS: Final = (str, bytes, int, float, UUID, datetime, timedelta, enum.Enum, type(None), msgspec.UnsetType)
_DIGEST_BYTES: Final = 16
# Structs that are encoded at once: some 0.1 ms.
_CHUNK: Final = 64

_encode_as_given = msgspec.msgpack.Encoder(uuid_format="bytes", enc_hook=encode_value).encode
# Sets, and mappings by text.
_encode_ordered = msgspec.msgpack.Encoder(
    uuid_format="bytes", enc_hook=encode_value, order="deterministic"
).encode


class _Plan(NamedTuple):
    """How structs of one class are encoded; ``deep`` fields may hold what has to be looked into.

    ``later`` are the fields that are left out at their default.
    """

    deep: tuple[str, ...]
    later: tuple[msgspec.structs.FieldInfo, ...]


def compute_digest(name: str, request: object) -> Steps[bytes]:
    """Compute the digest of a request to the write ``name``; raises InvalidInput for what has no text either.

    Cost: a few µs for each struct that holds others.
    """
    return _compute((name, request), _encode_ordered, _arrange, _spell)


def compute_unordered_digest(name: str, request: object) -> Steps[bytes]:
    """Compute what was stored as the digest before mappings were ordered; raises and costs the same."""
    return _compute((name, request), _encode_as_given, _without_later_fields, _spell_as_given)


def _compute(
    asked: object,
    encode: Callable[[object], bytes],
    arrange: Callable[[object], object],
    spell: Callable[[object], str],
) -> Steps[bytes]:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    try:
        for piece in _encode_in_pieces(asked, lambda value: encode(arrange(value))):
            digest.update(piece)
            yield
    except (OverflowError, TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # What cannot be encoded is refused later, by a check that names it.
        digest = hashlib.blake2b(_write_text(asked, spell).encode(), digest_size=_DIGEST_BYTES)
    return digest.digest()


def _encode_in_pieces(value: object, encode: Callable[[object], bytes]) -> Iterator[bytes]:
    """Yield the bytes of ``encode(value)``, a few items of its long lists at a time."""
    if isinstance(value, (list, tuple)):
        yield _list_head(len(value))
        kinds = set(map(type, value))
        if len(kinds) == 1 and not issubclass(kinds.pop(), (list, tuple)):
            for start in range(0, len(value), _CHUNK):
                chunk = value[start : start + _CHUNK]
                yield encode(chunk)[len(_list_head(len(chunk))) :]
        else:
            for item in value:
                yield from _encode_in_pieces(item, encode)
    elif isinstance(value, msgspec.Struct) and _is_long(value):
        kept = _kept_fields(value)
        fields: dict[str, object] = {}
        for name in kept:
            fields[name] = field = getattr(value, name)
            if _is_long(field):
                pieces = []
                for piece in _encode_in_pieces(field, encode):
                    pieces.append(piece)
                    yield b""
                fields[name] = msgspec.Raw(b"".join(pieces))
        yield encode(_shape(type(value), kept)(**fields))
    else:
        yield encode(value)


def _is_long(value: object) -> bool:
    """Whether a value is encoded in pieces, as it is a long list or has one."""
    if isinstance(value, (list, tuple)):
        return len(value) > _CHUNK
    return isinstance(value, msgspec.Struct) and any(map(_is_long, msgspec.structs.astuple(value)))


def _list_head(length: int) -> bytes:
    """Write what msgpack has before the items of a list."""
    if length < 16:
        return bytes((0x90 + length,))
    return b"\xdc" + length.to_bytes(2) if length < 2**16 else b"\xdd" + length.to_bytes(4)


def _arrange(value: object) -> object:
    """Return the value, or one in its place, as all equal ones are encoded."""
    kind: type = type(value)
    if _is_flat(kind):
        return value
    if isinstance(value, msgspec.Struct):
        return _arrange_struct(value, _arrange)
    if isinstance(value, Mapping):
        # By text the encoder brings them into order; by anything else it has no order for them.
        if all(isinstance(key, str) for key in value):
            return {key: _arrange(each) for key, each in value.items()}
        keys = sorted(value, key=_encode_as_given)
        ordered = {key: msgspec.Raw(_encode_ordered(_arrange(value[key]))) for key in keys}
        return msgspec.Raw(_encode_as_given(ordered))
    if isinstance(value, Sequence) and not _are_flat(value):
        return [_arrange(each) for each in value]
    return value


def _without_later_fields(value: object) -> object:
    kind: type = type(value)
    if _is_flat(kind):
        return value
    if isinstance(value, msgspec.Struct):
        return _arrange_struct(value, _without_later_fields)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_without_later_fields, value))
    return value


def _arrange_struct(value: msgspec.Struct, arrange: Callable[[object], object]) -> msgspec.Struct:
    plan = _plan(type(value))
    changed = {}
    for name in plan.deep:
        before = getattr(value, name)
        after = arrange(before)
        if after is not before:
            changed[name] = after
    kept = _kept_fields(value)
    if not changed and len(kept) == len(value.__struct_fields__):
        return value
    return _shape(type(value), kept)(**{name: changed.get(name, getattr(value, name)) for name in kept})


def _kept_fields(value: msgspec.Struct) -> tuple[str, ...]:
    """Return the fields of a struct that are in its digest."""
    left_out = [field.name for field in _plan(type(value)).later if _has_default(value, field)]
    names = value.__struct_fields__
    return tuple(name for name in names if name not in left_out) if left_out else names


@cache
def _shape(cls: type[msgspec.Struct], names: tuple[str, ...]) -> type[msgspec.Struct]:
    """Make a struct with some of a class's fields, which is encoded as the class is."""
    config = cls.__struct_config__
    return msgspec.defstruct(
        cls.__name__,
        [(name, object) for name in names],
        kw_only=True,
        tag_field=config.tag_field,
        tag=config.tag,
        array_like=config.array_like,
    )


def _has_default(value: msgspec.Struct, field: msgspec.structs.FieldInfo) -> bool:
    made = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return bool(getattr(value, field.name) == made)


@cache
def _plan(cls: type[msgspec.Struct]) -> _Plan:
    first = next((_FIRST_FIELDS[base.__name__] for base in cls.__mro__ if base.__name__ in _FIRST_FIELDS), "")
    fields = msgspec.structs.fields(cls)
    deep = tuple(field.name for field in fields if _may_be_deep(field.type))
    optional = [field for field in fields if not field.required and field.name not in first.split()]
    return _Plan(deep, tuple(optional))


@cache
def _is_flat(kind: type) -> bool:
    """Whether every value of a class is encoded as it is."""
    if issubclass(kind, msgspec.Struct):
        return _plan(kind) == _Plan((), ())
    return issubclass(kind, _SCALARS)


def _are_flat(values: Sequence[object]) -> bool:
    """Whether values are encoded as they are: looked at field by field, as a batch may have many thousands."""
    kinds = set(map(type, values))
    if all(map(_is_flat, kinds)):
        return True
    kind = kinds.pop()
    if kinds or not issubclass(kind, msgspec.Struct) or _plan(kind).later:
        return False
    for name in _plan(kind).deep:
        column = list(map(attrgetter(name), values))
        if not {list, tuple}.issuperset(map(type, column)) or not _are_flat(list(chain.from_iterable(column))):
            return False
    return True


def _may_be_deep(annotation: object) -> bool:
    """Whether a field may hold structs, mappings by anything but text, or such in a container."""
    annotation = getattr(annotation, "__supertype__", annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return any(map(_may_be_deep, parts))
    if origin is None:
        return not (isinstance(annotation, type) and issubclass(annotation, _SCALARS))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key = getattr(parts[0], "__supertype__", parts[0])
        return key is not str or _may_be_deep(parts[1])
    return any(_may_be_deep(part) for part in parts if part is not Ellipsis)


def _spell(value: object) -> str:
    """Write as text what has no encoding; equal values alike."""
    if isinstance(value, msgspec.Struct):
        fields = ", ".join(f"{name}={_spell(getattr(value, name))}" for name in _kept_fields(value))
        return f"{type(value).__name__}({fields})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{_spell(key)}: {_spell(each)}" for key, each in value.items())) + "}"
    if isinstance(value, Set):
        return "{" + ", ".join(sorted(map(_spell, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_spell, value)) + "]"
    return repr(value)


def _spell_as_given(value: object) -> str:
    return repr(_without_later_fields(value))


def _write_text(request: object, write: Callable[[object], str]) -> str:
    try:
        return write(request)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{error}; no number so large and nothing so deep can be stored, none of the batch was written"
        ) from error

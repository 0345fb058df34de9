"""A SchedulingData with the reasons why sessions wait, for programs."""

import msgspec

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.explain.reasons_text import describe
from scheduler_repo.types import SessionId


class WaitingLine(msgspec.Struct, frozen=True):
    """Why one session waits; ``text`` is the reason in words, with its amounts."""

    session_id: SessionId
    reason: WaitingReason
    text: str


def snapshot_json(data: SchedulingData) -> bytes:
    """Encode the fields of ``data`` and, as ``waiting``, a WaitingLine for each session, in queue order.

    Raises as ``waiting_reasons`` does, and costs as much.
    """
    fields: dict[str, object] = {name: getattr(data, name) for name in data.__struct_fields__}
    waiting = [
        WaitingLine(each.session_id, each.reason, describe(each, data)) for each in waiting_reasons(data)
    ]
    return msgspec.json.encode({**fields, "waiting": waiting})

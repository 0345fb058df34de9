"""That a decorated function keeps its type: for the type checker alone, nothing here is run."""

from collections.abc import Callable, Coroutine
from typing import Optional, assert_type

from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import ScalingGroupName, SessionId

_resilience = layer_resilience(LayerType.SESSION_REPOSITORY, retries=False)
_source_resilience = layer_resilience(LayerType.SESSION_DB_SOURCE)


@_resilience.apply()
async def plain(number: int, *, name: str = "") -> list[int]:
    return [number]


class Repository:
    @_resilience.apply(OperationKind.READ)
    async def find(self, session_id: SessionId, group: Optional[ScalingGroupName] = None) -> Optional[str]:
        return None

    @_source_resilience.apply(OperationKind.WRITE)
    async def write(self, *session_ids: SessionId) -> int:
        return len(session_ids)


async def check(repository: Repository, session_id: SessionId) -> None:
    assert_type(await plain(1), list[int])
    assert_type(await repository.find(session_id), Optional[str])
    assert_type(await repository.find(session_id, group=ScalingGroupName("gpu")), Optional[str])
    assert_type(await repository.write(session_id, session_id), int)
    kept: Callable[..., Coroutine[None, None, list[int]]] = plain
    await kept(1)
    await plain("1")  # type: ignore[arg-type] # the parameters are checked
    await plain(1, nme="x")  # type: ignore[call-arg]
    await repository.find("1")  # type: ignore[arg-type]
    await repository.write(session_id, 1)  # type: ignore[arg-type]
    _resilience.apply(OperationKind.READ)(len)  # type: ignore[arg-type] # it cannot be awaited

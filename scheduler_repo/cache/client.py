"""The commands that the caches send to Redis or Valkey, each bounded in time, behind one breaker."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, Optional, TypeVar, Union
from urllib.parse import urlsplit

import msgspec
import redis.asyncio as redis_asyncio
import redis.exceptions
from redis.asyncio.client import Pipeline

from scheduler_repo.cache.entry import MARK_BYTES, WITHOUT_KEYS, Seal
from scheduler_repo.cache.metrics import show_breaker
from scheduler_repo.errors import CacheBusy, CacheMisused, CacheRefused, CacheUnavailable, InvalidSettings
from scheduler_repo.resilience.layers import LayerType
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.breaker import BreakerArgs, BreakerState, CircuitBreakerPolicy
from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience
from scheduler_repo.settings import CacheSettings, refuse_unescaped
from scheduler_repo.validation import Bound, check_range
from scheduler_repo.wiring import check_wiring

DEFAULT_TIMEOUT: Final = 0.15
# A burst of readers shares these: connecting for each of them would take longer than they wait.
_MAX_CONNECTIONS: Final = 16
_KEYS_PER_COMMAND: Final = 1_000
# How many keys go into one round trip, so that a server keeps up with the time for it.
MAX_KEYS: Final = 4_000

# An entry is stored only where its reader's lease still is; without an entry the lease is given up.
_FILL: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
"""

# An entry that was written in pieces takes the place of the one that was seen there, and of no other.
_REPLACE: Final = """
local seen = ''
if redis.call('TYPE', KEYS[1]).ok == 'string' then seen = redis.call('GETRANGE', KEYS[1], 0, ARGV[1] - 1) end
if seen ~= ARGV[2] or redis.call('STRLEN', KEYS[2]) ~= tonumber(ARGV[3]) then
    redis.call('DEL', KEYS[2])
    return 0
end
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1
"""

# What the driver raises on an answer of another shape than its command's.
_UNPARSED: Final = (AttributeError, LookupError, TypeError, ValueError)

T = TypeVar("T")
Reply = Union[bytes, int, bool, tuple[int, int], redis.exceptions.ResponseError, None]


class LeasedLookUp(msgspec.Struct, frozen=True):
    """The entry of a key at ``clock_ms`` of the server's clock, and whether the reader may fill it.

    ``entry`` is empty if the key holds a value of another type. ``is_refused`` says that the server takes no
    writes now.
    """

    entry: Optional[bytes]
    has_lease: bool
    is_refused: bool
    clock_ms: int


class Piece(msgspec.Struct, frozen=True):
    """A part of the ``length`` bytes under a key at ``clock_ms``, and the first ``MARK_BYTES`` of all of them.

    All is empty if there is nothing; ``is_other_type`` says that there is a value that has no bytes.
    """

    mark: bytes
    part: bytes
    length: int
    clock_ms: int
    is_other_type: bool


class _SealingRedis(redis_asyncio.Redis):
    """A client of the driver that brings the keys of its settings along, whoever makes a cache source of it."""

    seal: Seal


def create_redis(settings: CacheSettings) -> "redis_asyncio.Redis":
    """Make a client of the driver that never retries by itself; connects to nothing yet.

    Raises InvalidWiring for what is no CacheSettings, and InvalidSettings for a URL that cannot be read.
    """
    check_wiring(settings, CacheSettings, "settings", "CacheSettings(url=SecretUrl(...))")
    refuse_unescaped(settings.url)
    pool: Optional[redis_asyncio.BlockingConnectionPool] = None
    with contextlib.suppress(ValueError, TypeError):
        made = redis_asyncio.BlockingConnectionPool.from_url(
            settings.url.reveal(),
            max_connections=_MAX_CONNECTIONS,
            timeout=settings.timeout,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            retry=None,
            decode_responses=False,
        )
        # The driver looks at the options in the URL when it makes a connection; this one never connects.
        made.make_connection()  # type: ignore[no-untyped-call]
        if _names_a_database(settings.url.reveal()):
            pool = made
    # Outside of the driver's error, which may hold a part of the URL and would be the context.
    if pool is None:
        raise InvalidSettings(
            f"the Redis URL cannot be read: {settings.url}; write redis://host:port/0, with the number of the "
            "database, rediss:// or unix://path"
        )
    client = _SealingRedis(connection_pool=pool)
    client.auto_close_connection_pool = True
    client.seal = Seal([key.reveal().encode() for key in settings.signing_keys])
    return client


def _names_a_database(url: str) -> bool:
    """Whether the path of a URL is a number, or empty; the driver takes any other for database 0."""
    parts = urlsplit(url)
    number = parts.path.strip("/")
    return parts.scheme == "unix" or not number or (number.isascii() and number.isdecimal())


def create_valkey_client(settings: CacheSettings) -> "ValkeyClient":
    """Make a client for several cache sources, which share its breaker; connects to nothing yet.

    Close it after the sources, before the event loop ends.
    """
    return ValkeyClient(create_redis(settings), timeout=settings.timeout)


class ValkeyClient:
    """The commands of the caches; a server that failed is sent none until it answers a probe.

    Each takes one round trip and at most ``timeout`` seconds; before Python 3.12 twice that, where the driver
    loses the cancel of the deadline and goes on to its own. Raises CacheUnavailable: BreakerOpen of it costs
    nothing, CacheRefused is an error of the server's and CacheBusy the lack of a free connection; these two say
    nothing against the server, and do not open the breaker.
    """

    def __init__(
        self, redis: "redis_asyncio.Redis", *, timeout: float = DEFAULT_TIMEOUT, recovery: float = 0.5
    ) -> None:
        """Own a client of the driver; a failed server is probed every ``recovery`` seconds.

        Raises InvalidWiring for what is no client of redis.asyncio, and InvalidInput for a time out of range.
        """
        check_wiring(redis, redis_asyncio.Redis, "redis", "create_valkey_client(CacheSettings(...))")
        check_range(timeout, Bound, "timeout")
        self._redis = redis
        # Signs the entries; a client from elsewhere has no keys.
        self.seal = redis.seal if isinstance(redis, _SealingRedis) else WITHOUT_KEYS
        self._commands = _Commands(redis, timeout)
        self._catching_up: list[Callable[[], Awaitable[None]]] = []
        self.breaker = CircuitBreakerPolicy(
            BreakerArgs(
                name="Redis",
                is_failure=_is_failure,
                probe=self._probe,
                recovery=recovery,
                on_change=lambda state: show_breaker(self, is_open=state is not BreakerState.CLOSED),
            )
        )
        self._owner = _Owner()
        metrics = MetricPolicy(MetricArgs(domain=DomainType.VALKEY, layer=LayerType.VALKEY_CLIENT))
        resilience = Resilience(policies=[metrics, self._owner, self.breaker])
        read, write = resilience.apply(OperationKind.READ), resilience.apply(OperationKind.IDEMPOTENT_WRITE)
        self.get_with_clock = read(self._commands.get_with_clock)
        self.get_piece = read(self._commands.get_piece)
        self.get_or_lease = write(self._commands.get_or_lease)
        self.take_turn = write(self._commands.take_turn)
        self.append = write(self._commands.append)
        self.replace = write(self._commands.replace)
        self.clock = read(self._commands.clock)
        self.fill = write(self._commands.fill)
        self.set_until = write(self._commands.set_until)
        self.remove = write(self._commands.remove)
        # Though the breaker is open; for what is awaited before recovery alone.
        self.remove_now = self._commands.remove

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: commands would be refused."""
        return self.breaker.state is not BreakerState.CLOSED

    def before_recovery(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await ``catch_up`` before the breaker closes, which CacheUnavailable from it prevents."""
        self._catching_up.append(catch_up)

    def forget(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Undo ``before_recovery``."""
        if catch_up in self._catching_up:
            self._catching_up.remove(catch_up)

    async def recovered(self) -> None:
        """Wait until the breaker is closed; raises CacheMisused in another event loop."""
        self._owner.check_event_loop()
        await self.breaker.recovered()

    async def aclose(self) -> None:
        """Stop probing and close the connections, for good; do so before the event loop ends.

        Raises CacheMisused in another event loop while its own goes on, and then closes nothing.
        """
        if not self._owner.has_lost_its_loop:
            self._owner.check_event_loop()
        self._owner.is_closed = True
        show_breaker(self, is_open=False)
        # What belongs to a loop that was closed has ended with it, and cannot be closed in another.
        if not self._owner.has_lost_its_loop:
            await self.breaker.aclose()
            await self._redis.aclose()

    async def _probe(self) -> bool:
        try:
            await self._commands.ping()
            for catch_up in tuple(self._catching_up):
                await catch_up()
        except CacheUnavailable:
            return False
        return True


def _is_failure(error: Exception) -> bool:
    return isinstance(error, CacheUnavailable) and not isinstance(error, (CacheBusy, CacheRefused))


class _Owner(Policy):
    """Lets calls through from one event loop only, until the client is closed.

    It stands before the breaker: misuse says nothing of the server.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._event_loop: Optional[asyncio.AbstractEventLoop] = None

    async def execute(self, call: Callable[[], Awaitable[T]]) -> T:
        if self.is_closed:
            raise CacheMisused("the client of Redis was closed; make another, or close it later")
        self.check_event_loop()
        self._event_loop = asyncio.get_running_loop()
        return await call()

    @property
    def has_lost_its_loop(self) -> bool:
        """Whether the event loop that it was first used in is closed."""
        return self._event_loop is not None and self._event_loop.is_closed()

    def check_event_loop(self) -> None:
        """Raise CacheMisused if it was first used in another event loop than the running one."""
        if self._event_loop not in (None, asyncio.get_running_loop()):
            raise CacheMisused(
                "the client of Redis was first used in another event loop, and its connections belong to "
                "that one; make a client in each event loop and thread"
            )


class _Commands:
    """The commands themselves, bounded; their errors are the package's."""

    def __init__(self, redis: "redis_asyncio.Redis", timeout: float) -> None:
        self._redis = redis
        self._timeout = timeout
        self._connections = asyncio.Semaphore(min(redis.connection_pool.max_connections, _MAX_CONNECTIONS))

    async def ping(self) -> None:
        await self._bounded(self._redis.ping)

    async def clock(self) -> int:
        return _read_clock(await self._bounded(self._redis.time))

    async def get_with_clock(self, key: str) -> tuple[Optional[bytes], int]:
        """Return an entry, empty if it is of another type, and the server's clock (ms) before."""
        clock_ms, (entry,) = await self._send_with_clock(lambda pipeline: pipeline.get(key))
        return _read_entry(entry), clock_ms

    async def get_piece(self, key: str, start: int, length: int) -> Piece:
        """Return ``length`` bytes of an entry from ``start`` on, or those that there are."""
        clock_ms, replies = await self._send_with_clock(
            lambda pipeline: (
                pipeline.getrange(key, 0, MARK_BYTES - 1),
                pipeline.getrange(key, start, start + length - 1),
                pipeline.strlen(key),
            )
        )
        if any(isinstance(each, redis.exceptions.ResponseError) and _is_wrong_type(each) for each in replies):
            return Piece(b"", b"", 0, clock_ms, True)
        mark, part, total = replies
        return Piece(
            _expect(mark, bytes, "text"),
            _expect(part, bytes, "text"),
            _expect(total, int, "number"),
            clock_ms,
            False,
        )

    async def take_turn(self, key: str, holder: bytes, lasts_ms: int) -> bool:
        """Put ``holder`` under a key unless another is there; it ends after ``lasts_ms`` or by ``fill``."""
        return await self._bounded(lambda: self._redis.set(key, holder, nx=True, px=lasts_ms)) is True

    async def append(self, key: str, part: Union[bytes, memoryview], lasts_ms: int) -> None:
        """Append to what is under a key, which ends ``lasts_ms`` after the last time."""
        _, replies = await self._send_with_clock(
            lambda pipeline: (pipeline.append(key, bytes(part)), pipeline.pexpire(key, lasts_ms))
        )
        for reply in replies:
            _expect(reply, int, "number")

    async def replace(self, key: str, seen: bytes, written: str, length: int, ends_at_ms: int) -> bool:
        """Move ``length`` bytes from the key ``written`` to ``key``, until a time of the server's clock.

        False, and they are removed, if ``key`` does not begin with ``seen`` any more (empty: nothing there), or
        if they are not all there.
        """
        done = await self._bounded(
            lambda: self._redis.eval(_REPLACE, 2, key, written, MARK_BYTES, seen, length, ends_at_ms)
        )
        return _expect(done, int, "number") == 1

    async def get_or_lease(self, key: str, lease: bytes, lease_ms: int) -> LeasedLookUp:
        """Return the entry of a key; if there is none, put a lease there that lasts ``lease_ms``."""
        clock_ms, (found, taken) = await self._send_with_clock(
            lambda pipeline: (pipeline.get(key), pipeline.set(key, lease, nx=True, px=lease_ms))
        )
        entry = _read_entry(found)
        is_refused = isinstance(taken, redis.exceptions.ResponseError)
        return LeasedLookUp(entry, entry is None and taken is True, is_refused, clock_ms)

    async def fill(self, key: str, lease: bytes, entry: bytes, ends_at_ms: int) -> bool:
        """Replace ``lease`` by an entry that ends at a time of the server's clock; False if it is not there.

        An empty entry gives the lease up.
        """
        filled = await self._bounded(lambda: self._redis.eval(_FILL, 1, key, lease, entry, ends_at_ms))
        return _expect(filled, int, "number") == 1

    async def set_until(self, key: str, entry: bytes, ends_at_ms: int) -> None:
        await self._bounded(lambda: self._redis.set(key, entry, pxat=ends_at_ms))

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove up to ``MAX_KEYS`` entries, leases too; return the server's clock (ms) before."""

        def delete(pipeline: Pipeline) -> None:
            for start in range(0, len(keys), _KEYS_PER_COMMAND):
                pipeline.delete(*keys[start : start + _KEYS_PER_COMMAND])

        clock_ms, removed = await self._send_with_clock(delete)
        for reply in removed:
            _expect(reply, int, "number")
        return clock_ms

    async def _send_with_clock(self, add_commands: Callable[[Pipeline], object]) -> tuple[int, list[Reply]]:
        """Send commands in one round trip, and return the server's clock (ms) before them and their replies."""
        # No MULTI, which a server that is out of memory refuses.
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        add_commands(pipeline)
        clock, *replies = await self._bounded(lambda: pipeline.execute(raise_on_error=False))
        return _read_clock(clock), replies

    async def _bounded(self, command: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        try:
            return await self._translate_errors(command)
        finally:
            # The driver loses a cancel that comes just as what it waits for ends (asyncio.wait_for before
            # Python 3.12): the caller, or the deadline, has asked all the same.
            if task is not None and task.cancelling() > cancels:
                raise asyncio.CancelledError

    async def _translate_errors(self, command: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        asked, sent = loop.time(), None
        try:
            async with asyncio.timeout(self._timeout), self._connections:
                sent = loop.time()
                return await command()
        except redis.exceptions.ResponseError as error:
            _raise_refusal(error)
        except _UNPARSED as error:
            raise CacheRefused(f"Redis answered what the driver cannot read ({error}); is it Redis?") from error
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            is_timeout = isinstance(error, (TimeoutError, redis.exceptions.TimeoutError))
            # The last callers of a burst find the time used up by the others: that is not the server's fault.
            if is_timeout and (sent is None or sent - asked > self._timeout / 2):
                raise CacheBusy(
                    f"no connection to Redis was free within {self._timeout:g} s; fewer reads at once find one"
                ) from error
            reason = f"no answer within {self._timeout:g} s" if is_timeout else type(error).__name__
            raise CacheUnavailable(f"Redis cannot be reached: {reason}") from error


def _read_entry(reply: Reply) -> Optional[bytes]:
    if reply is None or isinstance(reply, bytes):
        return reply
    if isinstance(reply, redis.exceptions.ResponseError) and not _is_wrong_type(reply):
        _raise_refusal(reply)
    return b""


def _is_wrong_type(error: redis.exceptions.ResponseError) -> bool:
    return str(error).startswith("WRONGTYPE")


def _expect(reply: Reply, kind: type[T], what: str) -> T:
    if isinstance(reply, redis.exceptions.ResponseError):
        _raise_refusal(reply)
    if not isinstance(reply, kind):
        raise CacheRefused(f"Redis answered {reply!r:.60} where a {what} was due; is it Redis that answers?")
    return reply


def _read_clock(reply: Reply) -> int:
    seconds, microseconds = _expect(reply, tuple, "time")
    return int(seconds) * 1000 + int(microseconds) // 1000


def _raise_refusal(error: redis.exceptions.ResponseError) -> NoReturn:
    if isinstance(error, redis.exceptions.MasterDownError):
        raise CacheUnavailable("Redis cannot be asked: it is a replica without its primary") from error
    raise CacheRefused(f"Redis refused: {error}") from error

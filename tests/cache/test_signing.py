"""With keys, what others write to Redis answers no read; without, it is as the documentation says."""

import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec
import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.cache.entry import Entry, Seal, build_entry, open_entry
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.cache.read_through import Codec
from scheduler_repo.connection import open_repositories
from scheduler_repo.entities.session import Session
from scheduler_repo.errors import InvalidInput, InvalidSettings
from scheduler_repo.settings import CacheSettings, SecretKey, SecretUrl, load_settings
from tests.cache.world import SESSION, CachedRead, World, world
from tests.support.databases import SCHEDULER, Database
from tests.support.waiting import PATIENCE

OLD: Final = SecretKey("old-" * 8)
NEW: Final = SecretKey("new-" * 8)
OTHERS: Final = SecretKey("other-" * 8)
SEAL: Final = Seal([OLD.reveal().encode()])

Process = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def process_with(loaded: Database, redis_url: str) -> Process:
    """A process that has these keys."""

    @asynccontextmanager
    async def made(*keys: SecretKey) -> AsyncIterator[World]:
        async with world(loaded, redis_url, keys=keys) as process:
            yield process

    return made


def reads_of(process: World) -> tuple[CachedRead, ...]:
    """Every cached read there is."""
    reads = (*process.reads, process.info_read)
    assert sorted(each.name for each in reads) == sorted(CacheName)
    return reads


async def stored_at(redis: "redis_asyncio.Redis", key: str) -> bytes:
    stored = await redis.get(key)
    assert isinstance(stored, bytes)
    return stored


Forge = Callable[[bytes, bytes], bytes]


def as_without_keys(stored: bytes, _: bytes) -> bytes:
    entry = open_entry(stored, SEAL)
    assert isinstance(entry, Entry)
    return build_entry(entry.header, bytes(entry.value))


def with_another_key(stored: bytes, _: bytes) -> bytes:
    entry = open_entry(stored, SEAL)
    assert isinstance(entry, Entry)
    return build_entry(entry.header, bytes(entry.value), Seal([OTHERS.reveal().encode()]))


def with_an_older_mark(stored: bytes, other: bytes) -> bytes:
    return as_without_keys(stored, other)[:4] + stored[4:]


def with_another_value(stored: bytes, _: bytes) -> bytes:
    return stored[:-1] + bytes([stored[-1] ^ 1])


def with_the_signature_of_another(stored: bytes, other: bytes) -> bytes:
    return other[:20] + stored[20:]


def with_no_signature(stored: bytes, _: bytes) -> bytes:
    return stored[:4] + bytes(16) + stored[20:]


def cut_to_the_mark(stored: bytes, _: bytes) -> bytes:
    return stored[:20]


FORGERIES: Final[tuple[Forge, ...]] = (
    as_without_keys,
    with_another_key,
    with_an_older_mark,
    with_another_value,
    with_the_signature_of_another,
    with_no_signature,
    cut_to_the_mark,
)


class TestForgery:
    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda value: value.__name__)
    async def test_is_a_miss_and_is_counted(
        self, process_with: Process, shared_redis: "redis_asyncio.Redis", forge: Forge
    ) -> None:
        # What stored an entry, or opened it once, need not look at it again.
        async with process_with(OLD) as storing, process_with(OLD) as process:
            for stores, each in zip(reads_of(storing), reads_of(process), strict=True):
                # given
                await stores.stored()
                await stores.read_other()
                stored = await stored_at(shared_redis, each.key)
                other = await stored_at(shared_redis, each.other_key)
                await shared_redis.set(each.key, forge(stored, other), keepttl=True)
                await process.change()
                before = each.counted(CacheOutcome.BAD_SIGNATURE)
                # when
                found = await each.stored()
                # then
                assert found == await each.truth()
                assert each.counted(CacheOutcome.BAD_SIGNATURE) == before + 1
                # and an entry of its own takes its place
                await each.stored()
                hits = each.counted(CacheOutcome.HIT)
                assert await each.read() == found
                assert each.counted(CacheOutcome.HIT) == hits + 1

    async def test_of_an_entry_of_another_key_and_cache(
        self, process_with: Process, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        """It is signed, but for where it was."""
        async with process_with(OLD) as process:
            reads = reads_of(process)
            for each in reads:
                await each.stored()
                await each.read_other()
            for each, next_one in zip(reads, (*reads[1:], reads[0]), strict=True):
                for source in (each.other_key, next_one.key):
                    entry = await stored_at(shared_redis, source)
                    await shared_redis.set(each.key, entry)
                    before = each.counted(CacheOutcome.OTHER_KEY)
                    assert await each.stored() == await each.truth()
                    assert each.counted(CacheOutcome.OTHER_KEY) == before + 1
                    await each.stored()

    async def test_without_keys_whoever_writes_is_believed(
        self, process_with: Process, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        """As the README says."""
        async with process_with() as process:
            (read, *_) = reads_of(process)
            await read.stored()
            entry = open_entry(await stored_at(shared_redis, read.key))
            assert isinstance(entry, Entry)
            codec = Codec(Session)
            forged = msgspec.structs.replace(await codec.decode(entry.value), name="forged")
            await shared_redis.set(
                read.key, build_entry(entry.header, await codec.encode(forged)), keepttl=True
            )
            assert await read.read() == forged


class TestRotation:
    async def test_every_step_is_a_hit(
        self, process_with: Process, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        steps = [((OLD,), (OLD, NEW)), ((OLD, NEW), (NEW, OLD)), ((NEW, OLD), (NEW,))]
        for before, after in steps:
            async with process_with(*before) as first, process_with(*after) as second:
                for process, other in ((first, second), (second, first)):
                    await shared_redis.flushdb()
                    for ours, theirs in zip(reads_of(process), reads_of(other), strict=True):
                        await ours.stored()
                        hits = theirs.counted(CacheOutcome.HIT)
                        await theirs.read()
                        assert theirs.counted(CacheOutcome.HIT) == hits + 1

    async def test_a_process_without_keys_misses(self, process_with: Process) -> None:
        async with process_with(OLD) as signing, process_with() as plain:
            for ours, theirs in zip(reads_of(signing), reads_of(plain), strict=True):
                await ours.stored()
                before = theirs.counted(CacheOutcome.OTHER_FORMAT)
                assert await theirs.read() == await theirs.truth()
                assert theirs.counted(CacheOutcome.OTHER_FORMAT) == before + 1


class TestSettings:
    @pytest.mark.parametrize("key", ["", "short-secret", "é-secret" * 40])
    def test_a_weak_key_is_refused_and_not_shown(self, key: str) -> None:
        with pytest.raises(InvalidSettings, match=r"signing_keys: key 2 of 2 is not 32 ASCII") as refused:
            CacheSettings(url=SecretUrl("redis://"), signing_keys=(OLD, SecretKey(key)))
        assert "secret-" not in str(refused.value)

    @pytest.mark.parametrize(
        "keys", ["S3CRET" * 8, ["S3CRET" * 8], ("S3CRET" * 8,), SecretKey("S3CRET" * 8), None]
    )
    def test_what_is_no_tuple_of_keys_is_refused_and_not_shown(self, keys: object) -> None:
        with pytest.raises(InvalidSettings, match=r"signing_keys: give a tuple of keys") as refused:
            CacheSettings(url=SecretUrl("redis://"), signing_keys=keys)  # type: ignore[arg-type]
        assert "S3CRET" not in str(refused.value)

    @pytest.mark.parametrize("key", [7, None, b"S3CRET" * 8])
    def test_a_key_that_is_no_text_is_refused_and_not_shown(self, key: object) -> None:
        with pytest.raises(InvalidSettings, match="a key is a text, this is") as refused:
            SecretKey(key)  # type: ignore[arg-type]
        assert "S3CRET" not in str(refused.value)

    def test_are_not_shown_or_written(self) -> None:
        settings = CacheSettings(url=SecretUrl("redis://h"), signing_keys=(OLD,))
        assert OLD.reveal() not in f"{settings} {OLD} {OLD!r}"
        for write in (pickle.dumps, msgspec.json.encode, msgspec.msgpack.encode):
            with pytest.raises((InvalidInput, TypeError)):
                write(settings)

    def test_are_read_from_the_environment(self) -> None:
        given = {
            "SCHEDULER_REPO_REDIS_URL": "redis://",
            "SCHEDULER_REPO_REDIS_SIGNING_KEYS": f"{NEW.reveal()}, {OLD.reveal()}",
        }
        settings = load_settings(given).cache
        assert settings is not None
        assert settings.signing_keys == (NEW, OLD)
        assert "new-" not in f"{settings} {settings!r}"

    @pytest.mark.parametrize("keys", ["S3CRET", f"{'S3CRET' * 8},", f"{'S3CRET' * 8},S3CRET"])
    def test_a_bad_variable_is_named_and_not_shown(self, keys: str) -> None:
        with pytest.raises(InvalidSettings, match="SCHEDULER_REPO_REDIS_SIGNING_KEYS") as refused:
            load_settings({"SCHEDULER_REPO_REDIS_URL": "redis://", "SCHEDULER_REPO_REDIS_SIGNING_KEYS": keys})
        assert "S3CRET" not in str(refused.value)

    async def test_the_front_door_takes_them(
        self, loaded: Database, redis_url: str, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        url = loaded.url_as(SCHEDULER)
        async with open_repositories(
            url, redis_url, redis_timeout=PATIENCE, redis_signing_keys=(OLD,)
        ) as repos:
            await repos.sessions.get_session_by_id(SESSION)
        stored = await stored_at(shared_redis, f"scheduler_repo:session:{SESSION}")
        assert isinstance(open_entry(stored, SEAL), Entry)

    async def test_whatever_client_is_made_of_them_has_them(self) -> None:
        settings = CacheSettings(url=SecretUrl("redis://"), signing_keys=(OLD,))
        client = ValkeyClient(create_redis(settings))
        assert client.seal.mark == SEAL.mark
        await client.aclose()

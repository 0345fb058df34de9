"""A secret in a URL is shown nowhere, however it was written and wherever it was given."""

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Final, Optional

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler_repo import errors
from scheduler_repo.cache.client import create_redis
from scheduler_repo.connection import open_repositories
from scheduler_repo.database.engine import create_engine
from scheduler_repo.errors import InvalidSettings, SchedulerRepoError
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.secret_urls import hide_secrets, is_open_url, may_hold_secret, secret_parts, shown_url
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl, load_settings
from tests.support.waiting import PATIENCE

SECRET: Final = "S3CRET"  # noqa: S105 # it is what is looked for
# With what people put into passwords, and forget to escape.
_MARKS: Final = st.text("ab1@:/?#%&=;,+!~[]$*()'\" \\\n\t\x1b", max_size=4)
_ESCAPED: Final = st.sampled_from(["", "%40", "%2F", "%3A", "%25", "%3F", "%23", "%26", "+", "a", "é"])
_HOSTS: Final = st.sampled_from(
    [
        "h",
        "h:5432",
        "db.example.org",
        "[::1]:5432",
        "h1:5432,h2:5433",
        "h1,h2",
        "",
        "%2Fvar%2Frun%2Fpg",
        "h:port",
    ]
)
_DATABASES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
_CACHES: Final = ("redis", "rediss")
_OPTIONS: Final = ("password", "sslpassword", "passfile", "sslkey", "bogus", "PASSWORD", "pass%77ord")


@st.composite
def _secrets(draw: st.DrawFn) -> str:
    """A password, escaped or not."""
    marks = draw(st.sampled_from((_MARKS, _ESCAPED)))
    return f"{draw(marks)}{SECRET}{draw(marks)}"


@st.composite
def secret_urls(draw: st.DrawFn) -> str:
    """A URL of a server that holds a secret, well made or not."""
    secret, hosts = draw(_secrets()), draw(_HOSTS)
    scheme = draw(st.sampled_from((*_DATABASES, *_CACHES)))
    user = draw(st.sampled_from(["", "u", "planner", "u%40server", "u@server", "u.v-w"]))
    path = draw(st.sampled_from(["", "/", "/d", "/0"]))
    name = draw(st.sampled_from(_OPTIONS))
    other = draw(st.sampled_from(["", "host=/tmp&", "user=a@b&", "ssl=require&", "x=1&"]))
    return draw(
        st.sampled_from(
            [
                f"{scheme}://{user}:{secret}@{hosts}{path}",
                f"{scheme}://{user}:{secret}@{hosts}{path}?{other}",
                f"{scheme}://{user}@{hosts}{path}?{other}{name}={secret}",
                f"{scheme}://{hosts}{path}?{other}{name}={secret}",
                f"{scheme}:///d?{other}host=/var/run/postgresql&{name}={secret}",
                f"{scheme}://{user}:{secret}@",
                f"{scheme}://{user}:x@h1,{user}:{secret}@h2/d",
                f"unix://{user}:{secret}@/tmp/redis.sock",
                f"unix:///tmp/redis.sock?{other}{name}={secret}",
                f"jdbc:{scheme}://h/d?{other}{name}={secret}",
                f"mysql://{user}:{secret}@{hosts}{path}",
                f"http://{user}:{secret}@{hosts}{path}",
            ]
        )
    )


def _has_an_end(url: str) -> bool:
    """Whether it can be told from the words behind it: not with a blank after what looks like user and host."""
    return not ("@server" in url and any(mark in url for mark in " '\"\\\n\t"))


def everything_of(error: Optional[BaseException]) -> Iterator[str]:
    """Every text that an error, and what it came from, carries."""
    if error is not None:
        yield "".join(traceback.format_exception(error))
        for each in _chain(error):
            yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
            if isinstance(each, SchedulerRepoError):
                yield pickle.dumps(each).decode("latin-1")


def _chain(error: BaseException) -> Iterator[BaseException]:
    found = [error]
    for each in found:
        yield each
        found += [
            other for other in (each.__cause__, each.__context__) if other is not None and other not in found
        ]


def _attempt(action: Callable[[], object]) -> Iterator[str]:
    try:
        made = action()
    except Exception as error:  # noqa: BLE001 # whatever it is, it must hold no secret
        yield from everything_of(error)
    else:
        yield from (str(made), repr(made))


class TestNothingShows:
    @given(secret_urls())
    @example("postgresql://h/d?user=a@b&password=S3CRET")
    @example("postgresql://u:12?a=S3CRET@h/d")
    @example("postgresql://u:12/S3CRET@h/d")
    @example("postgresql://u%3AS3CRET@h/d")
    @example("postgresql://h/d&password=a@S3CRET")
    @example("postgresql://h/d;password=a@S3CRET")
    @example("postgresql://u:S3CRET")
    @example("redis://S3CRET@h")
    @example("S3CRET")
    @example("S3CRET://word@h")
    @example("host=h password=S3CRET")
    def test_a_url(self, url: str) -> None:
        secret = SecretUrl(url)
        database, cache = DatabaseSettings(url=secret), CacheSettings(url=secret)
        shown = [
            *(
                f"{each} {each!r} {each!s:>90}"
                for each in (secret, database, cache, [secret], {secret: secret})
            ),
            "%s %r" % (secret, secret),  # noqa: UP031 # as a log line is made
            repr(list(database.__rich_repr__())),
            # SQLAlchemy's own URL shows where a file of passwords is.
            *(_attempt(database.sqlalchemy_url) if "passfile" not in url else ()),
            *_attempt(lambda: create_redis(cache)),
            *_attempt(lambda: create_engine(database)),
            *_attempt(lambda: open_repositories(url)),
            *_attempt(lambda: open_repositories("postgresql://h/d", url)),
            *_attempt(lambda: load_settings({}, url, url)),
            *_attempt(lambda: pickle.dumps(secret)),
            *_attempt(lambda: msgspec.json.encode(secret)),
            *_attempt(lambda: msgspec.json.encode(database)),
        ]
        assert SECRET not in "".join(shown)
        assert SECRET not in "".join(map(str, _found_in(secret)))

    @given(secret_urls(), st.sampled_from(["pool_size", "lock_timeout", "pooler", "application_name"]))
    def test_a_url_in_another_setting(self, url: str, field: str) -> None:
        name = f"SCHEDULER_REPO_{field.upper()}"
        shown = [
            *_attempt(lambda: load_settings({name: url}, "postgresql://h/d")),
            *_attempt(lambda: open_repositories("postgresql://h/d", **{field: url})),  # type: ignore[arg-type]
        ]
        assert SECRET not in "".join(shown)

    @given(secret_urls().filter(_has_an_end))
    def test_a_url_in_a_message(self, url: str) -> None:
        for text in (
            url,
            f"cannot use {url}",
            f"cannot use {url} here",
            f"'{url}' is no number",
            f"({url}); try",
        ):
            assert SECRET not in hide_secrets(text)
            for kind in (errors.InvalidInput, errors.DatabaseUnavailable):
                assert SECRET not in "".join(everything_of(kind(text)))
        assert SECRET not in quoted(url)
        assert SECRET not in quoted([url])
        assert SECRET not in quoted(url, 7) + quoted(url, 20)

    @given(secret_urls().filter(_has_an_end))
    def test_a_url_in_a_log_line(self, url: str) -> None:
        logger = get_logger("scheduler_repo.test")
        record = logger.makeRecord(
            "x", logging.WARNING, "x", 1, "no answer from %s: %s", (url, ValueError(url)), None
        )
        assert logger.filter(record)
        assert SECRET not in record.getMessage()

    @given(secret_urls())
    def test_what_is_looked_for_holds_the_secret(self, url: str) -> None:
        """So that it is found where others repeat a part."""
        assert any(SECRET in part for part in secret_parts(url))
        assert may_hold_secret(url)
        assert not is_open_url(url)

    @given(secret_urls())
    def test_what_is_shown_is_open(self, url: str) -> None:
        shown = shown_url(url)
        assert shown_url(shown) == shown
        assert hide_secrets(f"at {shown}: no") == f"at {shown}: no"


def _found_in(secret: SecretUrl) -> Iterator[object]:
    """What tools that print an object's parts find."""
    yield getattr(secret, "__dict__", {})
    yield from (getattr(secret, "__rich_repr__", list)() or [])
    with pytest.raises(TypeError):
        msgspec.to_builtins(secret)


class TestConnecting:
    """The errors of the drivers, their causes included."""

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:{SECRET}@127.0.0.1:1/d",
            f"postgresql://127.0.0.1:1/d?user=u&password={SECRET}",
            f"postgresql:///d?host=/no/such&user=u&password={SECRET}",
            f"postgresql://u:{SECRET}@127.0.0.1:1,127.0.0.1:2/d",
            f"postgresql://u:{SECRET}@no.such.host.invalid/d",
            f"postgresql://u@127.0.0.1:1/d?passfile=/no/{SECRET}",
            f"postgresql://u:{SECRET}@127.0.0.1:1/d?target_session_attrs=primary",
            f"postgresql://u:{SECRET}@127.0.0.1:99999/d",
        ],
    )
    async def test_a_database(self, url: str) -> None:
        database = DatabaseSettings(url=SecretUrl(url), connect_timeout=2.0)
        with pytest.raises(SchedulerRepoError) as raised:
            async with open_repositories(database):
                raise AssertionError("nobody listens there")
        assert SECRET not in "".join(everything_of(raised.value))

    @pytest.mark.parametrize("options", ["", f"?passfile=/no/{SECRET}", f"?user=u&password={SECRET}"])
    async def test_an_engine(self, options: str) -> None:
        settings = DatabaseSettings(url=SecretUrl(f"postgresql://u:{SECRET}@127.0.0.1:1/d{options}"))
        engine = create_engine(settings)
        with pytest.raises(Exception) as raised:  # noqa: PT011 # SQLAlchemy's, or the driver's own
            async with engine.connect():
                raise AssertionError("nobody listens there")
        shown = (*everything_of(raised.value), repr(engine), str(engine.url), repr(engine.sync_engine))
        assert SECRET not in "".join(shown)
        await engine.dispose()

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://u:{SECRET}@127.0.0.1:1",
            f"redis://127.0.0.1:1?password={SECRET}",
            f"unix://u:{SECRET}@/no/such.sock",
            f"redis://127.0.0.1:1?bogus={SECRET}",
        ],
    )
    async def test_a_redis(self, url: str) -> None:
        async def ping() -> None:
            client = create_redis(CacheSettings(url=SecretUrl(url)))
            shown.append(repr(client.connection_pool.make_connection()))  # type: ignore[no-untyped-call]
            await asyncio.wait_for(client.ping(), PATIENCE)

        shown: list[str] = []
        with pytest.raises(Exception) as raised:  # noqa: PT011 # the driver's own, or the package's
            await ping()
        assert SECRET not in "".join((*shown, *everything_of(raised.value)))


class TestShown:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://u:p@h:5432/d", "postgresql://u@h:5432/d"),
            ("postgresql://u:p@h1:1,h2:2/d?ssl=require", "postgresql://u@h1:1,h2:2/d"),
            ("postgresql:///d?host=/tmp&port=5433&user=u&password=p", "postgresql:///d?host=/tmp&port=5433"),
            ("postgresql:///d?host=/tmp&port=p", "postgresql:///d?host=/tmp"),
            ("POSTGRESQL://h/d", "postgresql://***"),
            ("REDIS://h/p", "redis://***"),
            ("postgresql://u:p@[::1]/d", "postgresql://u@[::1]/d"),
            ("postgresql://h/d?user=a@b&password=p", "postgresql://h/d"),
            ("postgresql://u:p@w@h/d", "postgresql://u@h/d"),
            ("postgresql://u%40server:p@h/d", "postgresql://u%40server@h/d"),
            ("postgresql://u%3Ap@h/d", "postgresql://***@h/d"),
            ("postgresql://u:12?p@h/d", "postgresql://***"),
            ("postgresql://u:p", "postgresql://***"),
            ("redis://:p@h:6379/0", "redis://@h:6379/0"),
            ("redis://p@h", "redis://***@h"),
            ("redis://h/p", "redis://h/***"),
            ("unix:///tmp/redis.sock?db=1&password=p", "unix:///tmp/redis.sock"),
            ("tcp://10.0.0.1:6001", "tcp://10.0.0.1:6001"),
            ("scheme://u:p@h", "***://***"),
            ("p", "(not a URL)"),
        ],
    )
    def test_as_much_as_is_sure(self, url: str, shown: str) -> None:
        assert str(SecretUrl(url)) == shown

    def test_it_is_a_value(self) -> None:
        url, same, other = SecretUrl("redis://h"), SecretUrl("redis://h"), SecretUrl("redis://g")
        assert url == same != other
        assert len({url, same, other}) == 2
        assert copy.deepcopy(url) == copy.copy(url) == url
        assert url.reveal() == "redis://h"
        with pytest.raises(AttributeError):
            url._value = "redis://g"
        with pytest.raises(InvalidSettings, match="a URL is a text, this is an int"):
            SecretUrl(7)  # type: ignore[arg-type] # it is what is tested

    @pytest.mark.parametrize("part", ["=", "://", "a=", "password=", "password=*", "x://y ", "@:/", " ", "%25"])
    @pytest.mark.timeout(60)
    def test_a_text_of_any_length_takes_no_long_time(self, part: str) -> None:
        # Of a quarter of a megabyte, which takes minutes where each mark costs a look at the whole.
        assert hide_secrets(part * 2**16)
        assert quoted(part * 2**16)
        may_hold_secret(part * 2**16)

    def test_names_stay_readable(self) -> None:
        for text in ("gpu:a100@dc1", "a=b", "mem=4GiB; cpu=2", "see https://example.org/a/b for more"):
            assert hide_secrets(text) == text
            assert shortened(text) == text

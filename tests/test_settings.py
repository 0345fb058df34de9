"""Settings: from the environment, typed, and silent about passwords."""

import os

import msgspec
import pytest

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl, Settings, load_settings

URL = "postgresql://planner:hunter2@db.example:5432/cluster"


class TestLoadSettings:
    def test_nothing_given_is_no_settings(self) -> None:
        assert load_settings({}) == Settings(database=None, cache=None)

    def test_the_environment_is_read_by_type(self) -> None:
        settings = load_settings(
            {
                "SCHEDULER_REPO_DATABASE_URL": URL,
                "SCHEDULER_REPO_POOL_SIZE": "9",
                "SCHEDULER_REPO_LOCK_TIMEOUT": "1.5",
                "SCHEDULER_REPO_POOLER": "transaction",
                "SCHEDULER_REPO_REDIS_URL": "redis://cache.example",
                "SCHEDULER_REPO_REDIS_LIFETIME": "7",
                "PATH": "/bin",
            }
        )
        assert settings.database == DatabaseSettings(
            url=SecretUrl(URL), pool_size=9, lock_timeout=1.5, pooler="transaction"
        )
        assert settings.cache == CacheSettings(url=SecretUrl("redis://cache.example"), lifetime=7)

    def test_an_argument_goes_before_its_variable(self) -> None:
        settings = load_settings({"SCHEDULER_REPO_DATABASE_URL": "postgresql:///other"}, database_url=URL)
        assert settings.database is not None
        assert settings.database.url.reveal() == URL

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("POOL_SIZE", "many"),
            ("POOL_SIZE", "0"),
            ("LOCK_TIMEOUT", "-1"),
            ("REDIS_TIMEOUT", "nan"),
            ("POOL_SIZ", "5"),
            ("POOLER", "pgbouncer"),
        ],
    )
    def test_a_bad_value_or_name_is_named(self, name: str, value: str) -> None:
        with pytest.raises(InvalidSettings, match=f"SCHEDULER_REPO_{name}"):
            load_settings({f"SCHEDULER_REPO_{name}": value})

    @pytest.mark.parametrize("kind", [DatabaseSettings, CacheSettings])
    def test_no_bound_is_one_that_a_server_takes_for_none(
        self, kind: type[DatabaseSettings] | type[CacheSettings]
    ) -> None:
        """Servers take whole milliseconds, and 0 for no bound at all."""
        bounds = [field.name for field in msgspec.structs.fields(kind) if isinstance(field.default, float)]
        assert len(bounds) >= 2
        settings = kind(url=SecretUrl(URL))
        for name in bounds:
            for seconds in (0, 1e-9, 0.0004, 0.000999, -1, float("nan"), float("inf")):
                with pytest.raises(InvalidSettings, match=f"{name} is .*0.001 to 86400 seconds"):
                    msgspec.structs.replace(settings, **{name: seconds})
            msgspec.structs.replace(settings, **{name: 0.001})

    def test_another_kind_of_pooler_is_told_which_there_are(self) -> None:
        with pytest.raises(InvalidSettings, match=r"SCHEDULER_REPO_POOLER.*session or transaction"):
            load_settings({"SCHEDULER_REPO_POOLER": "statement"})
        with pytest.raises(InvalidSettings, match=r"DatabaseSettings\.pooler.*session or transaction"):
            DatabaseSettings(url=SecretUrl(URL), pooler="statement")  # type: ignore[arg-type]

    def test_settings_are_frozen(self) -> None:
        settings = DatabaseSettings(url=SecretUrl(URL))
        with pytest.raises(AttributeError):
            settings.pool_size = 7  # type: ignore[misc]


class TestSecretUrl:
    @pytest.mark.parametrize("url", [URL, f"{URL}?password=hunter2", "postgresql://:hunter2@/x", "hunter2"])
    def test_a_password_is_never_shown(self, url: str) -> None:
        settings = DatabaseSettings(url=SecretUrl(url))
        shown = f"{settings} {settings!r} {settings.url} {settings.url!r}"
        assert "hunter2" not in shown

    def test_the_place_is_shown(self) -> None:
        assert str(SecretUrl(URL)) == "postgresql://planner@db.example:5432/cluster"

    @pytest.mark.parametrize("url", ["mysql://db", "nonsense", "sqlite:///x", "postgresql+psycopg://db"])
    def test_a_url_that_is_not_of_postgresql_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidSettings):
            DatabaseSettings(url=SecretUrl(url)).sqlalchemy_url()

    def test_a_url_without_a_user_is_refused_where_the_process_has_no_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("PGUSER", "LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
        with pytest.raises(InvalidSettings, match="names no user"):
            DatabaseSettings(url=SecretUrl("postgres://h/d")).sqlalchemy_url()
        # but not where either names one
        assert DatabaseSettings(url=SecretUrl("postgres://u@h/d")).sqlalchemy_url().username == "u"
        monkeypatch.setenv("PGUSER", "planner")
        DatabaseSettings(url=SecretUrl("postgres://h/d")).sqlalchemy_url()

    def test_the_driver_is_asyncpg(self) -> None:
        url = DatabaseSettings(url=SecretUrl("postgres://h/d")).sqlalchemy_url()
        assert url.drivername == "postgresql+asyncpg"

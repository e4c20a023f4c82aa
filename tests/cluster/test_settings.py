"""Settings: from the environment, checked, and silent about secrets."""

from pathlib import Path

import pytest

from cluster.errors import SettingsInvalid
from cluster.settings import DatabaseSettings, StorageSettings, load


def test_without_any_variable_everything_lies_in_one_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    storage, database = load(StorageSettings), load(DatabaseSettings)
    assert storage.storage_uri == "file:///home/somebody/.local/share/farm/media"
    assert storage.source_cache_dir == Path("/home/somebody/.local/share/farm/sources")
    assert database.database_url.get_secret_value() == "sqlite:////home/somebody/.local/share/farm/farm.db"
    assert storage.source_prefixes == ()


def test_one_variable_moves_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "my data"))
    assert load(StorageSettings).storage_uri == (tmp_path / "my data" / "media").as_uri()
    assert load(DatabaseSettings).database_url.get_secret_value() == f"sqlite:///{tmp_path}/my data/farm.db"


def test_places_of_sources_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SOURCE_PREFIXES", "s3://uploads/in/, file:///srv/in ,")
    assert load(StorageSettings).source_prefixes == ("s3://uploads/in/", "file:///srv/in")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FARM_STORAGE_URI", "/srv/media"),
        ("FARM_STORAGE_URI", "http://example.com"),
        ("FARM_S3_ENDPOINT", "localhost:9000"),
        ("FARM_PUBLIC_URL", "cdn.example.com"),
        ("FARM_SOURCE_PREFIXES", "s3://uploads/in/,/srv/in"),
        ("FARM_SOURCE_CACHE_BYTES", "0"),
        ("FARM_SOURCE_CACHE_BYTES", "many"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=name):
        load(StorageSettings)


def test_a_password_in_a_wrong_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATABASE_URL", "mysql://farm:hunter2@db/farm")
    with pytest.raises(SettingsInvalid, match="FARM_DATABASE_URL") as caught:
        load(DatabaseSettings)
    assert "hunter2" not in str(caught.value)


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATABASE_URL", "postgresql://farm:hunter2@db/farm")
    monkeypatch.setenv("FARM_S3_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in repr([load(DatabaseSettings), load(StorageSettings)])

"""What the README says can be relied upon."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from cluster.farm_settings import WorkSettings
from cluster.settings import DatabaseSettings, LogSettings, StorageSettings
from serve.settings import ClientSettings, RecipeSettings, ServeSettings

README = (Path(__file__).parents[1] / "README.md").read_text()
SETTINGS = (StorageSettings, DatabaseSettings, WorkSettings, LogSettings, ServeSettings, RecipeSettings, ClientSettings)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_every_setting_is_named(settings: type[BaseSettings]) -> None:
    named = set(re.findall("FARM_[A-Z0-9_]+", README))
    missing = {
        name
        for name in (f"FARM_{field.upper()}" for field in settings.model_fields)
        if not any(one == name or one.startswith(f"{name}__") for one in named)
    }
    assert not missing


def test_every_variable_that_the_code_reads_or_speaks_of_is_named() -> None:
    rooms = (Path(__file__).parents[1] / room for room in ("ladders", "pipelines", "cluster", "serve"))
    code = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    assert {name for name in re.findall("FARM_[A-Z0-9_]+", code) if name not in README} == set()


def test_no_setting_is_named_that_there_is_not() -> None:
    known = {f"FARM_{field.upper()}" for settings in SETTINGS for field in settings.model_fields}
    named = {name.partition("__")[0] for name in re.findall("FARM_[A-Z0-9_]+", README)}
    assert named <= known | {"FARM_DEBUG"}

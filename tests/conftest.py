"""What holds for every test: Ray keeps to itself, and nothing of the developer's environment leaks in."""

import os

import pytest

# Before anything imports Ray. Its own token file in the home folder would lock out other clusters of the same user.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FARM_", "AWS_")):
            monkeypatch.delenv(name)

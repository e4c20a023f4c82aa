"""Storages and job stores on real servers, one test each on every kind."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.jobs import SqlStore, open_store
from cluster.settings import DatabaseSettings, StorageSettings
from cluster.storage import Storage, open_storage
from tests.support.postgres import Postgres
from tests.support.seaweed import Seaweed


@pytest.fixture(scope="session")
def bucket(seaweed: Seaweed) -> str:
    """A bucket on the S3 server."""
    client = seaweed.client()
    client.create_bucket(Bucket="farm-tests")
    client.close()
    return "farm-tests"


@pytest.fixture
def s3_uri(bucket: str) -> str:
    """A fresh prefix in the bucket."""
    return f"s3://{bucket}/{uuid.uuid4().hex}"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "local":
        return open_storage((tmp_path / "storage").as_uri(), StorageSettings(data_dir=tmp_path))
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    return open_storage(request.getfixturevalue("s3_uri"), seaweed.settings())


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """Settings of an empty database of each kind."""
    if request.param == "sqlite":
        return DatabaseSettings(database_url=f"sqlite:///{tmp_path / 'farm.db'}")
    postgres: Postgres = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name)
    return postgres.settings(name)


@pytest.fixture
def store(database: DatabaseSettings) -> Iterator[SqlStore]:
    """An empty job store of each kind."""
    opened = open_store(database)
    opened.upgrade()
    yield opened
    opened.close()

"""Storage: a folder of this machine or an S3 bucket, behind one protocol."""

from pathlib import Path
from urllib.parse import quote

from cluster.settings import StorageSettings
from cluster.storage.base import Storage
from cluster.storage.urls import parse_place

__all__ = ["Storage", "open_storage"]


def open_storage(uri: str, settings: StorageSettings) -> Storage:
    """The storage at ``file:///folder`` or ``s3://bucket/prefix``; a missing folder is made, a bucket is not."""
    place = parse_place(uri)
    public = settings.public_url if uri.rstrip("/") == settings.storage_uri.rstrip("/") else None
    if place.scheme == "file":
        from cluster.storage.local import LocalStorage

        return LocalStorage(Path(place.path), base_url=public or Path(place.path).as_uri())
    # Importing boto3 takes a third of a second, which a machine with a local folder need not spend.
    from cluster.storage.s3 import S3Storage, bucket_url, client_for

    prefix = place.path.strip("/")
    base = public or "/".join(filter(None, [bucket_url(place.bucket, settings), quote(prefix)]))
    return S3Storage(client_for(settings), place.bucket, prefix, base_url=base)

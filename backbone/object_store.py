"""Where blobs lie: a folder of the home or an S3 bucket, both through obstore.

Whatever obstore and the operating system say of a store that does not do what it should (away, full, not permitted)
becomes one typed error, which another try may mend: as with Redis, nothing is accepted meanwhile.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import from_url

from backbone.errors import BlobStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore.store import ClientConfig, ObjectStore, S3Config

    from backbone.settings import Settings

REQUEST_TIMEOUT: Final = timedelta(seconds=15)
"""How long one request to S3 may take: a handler's partition waits for it."""
CONNECT_TIMEOUT: Final = timedelta(seconds=3)
MOST_RETRIES: Final = 2


def open_store(settings: Settings) -> ObjectStore:
    """Return the store that the settings name; whether it can be reached is seen at the first use.

    Raises:
        BlobStoreError: the folder can't be made.
    """
    if (folder := folder_of(settings)) is not None:
        with reaching():
            folder.mkdir(parents=True, exist_ok=True)
            return from_url(folder.absolute().as_uri())
    client: ClientConfig = {
        "timeout": REQUEST_TIMEOUT,
        "connect_timeout": CONNECT_TIMEOUT,
        "allow_http": settings.blob_endpoint.startswith("http://"),
    }
    config: S3Config = {}
    if settings.blob_endpoint:
        config["endpoint"] = settings.blob_endpoint
    if settings.blob_region:
        config["region"] = settings.blob_region
    if settings.blob_key_id.get_secret_value():
        config["access_key_id"] = settings.blob_key_id.get_secret_value()
        config["secret_access_key"] = settings.blob_key_secret.get_secret_value()
    with reaching():
        return from_url(
            settings.blob_url,
            config=config,
            client_options=client,
            retry_config={"max_retries": MOST_RETRIES, "retry_timeout": REQUEST_TIMEOUT},
        )


def folder_of(settings: Settings) -> Path | None:
    """Return the folder that is the store; None where the store is none."""
    if not settings.blob_url:
        return settings.home / "blobs"
    if settings.blob_url.startswith("file:"):
        return type(settings.home)(unquote(urlsplit(settings.blob_url).path))
    return None


def folder_name(owner: str) -> str:
    """Return the name under which an owner's things lie: a hash, for an owner's own name may be any text."""
    return hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()


@contextmanager
def reaching(*known: type[Exception]) -> Iterator[None]:
    """Turn what a store raises into `BlobStoreError`.

    Args:
        known: what passes, for the caller knows what it tells: of a read, `FileNotFoundError` says that there is no such
            object; of a write, that there is no such bucket.

    Raises:
        BlobStoreError: the store did not do it.
    """
    try:
        yield
    except known:
        raise
    except (BaseError, OSError) as error:
        # The rest of what obstore says is its source's debug text, over many lines.
        said = str(error).partition("\n")[0]
        raise BlobStoreError(f"the blob store did not do it: {said}") from error

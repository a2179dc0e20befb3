"""Whether an S3 server just started gives and takes objects yet."""

from __future__ import annotations

from collections.abc import Callable

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tslc.domain.local_store import StoreEndpoint

_READY_KEY = ".ready"
# Large enough to lie in a volume, as a blob does, and not beside its name.
_BODY = bytes(64 * 1024)


def probe_of(store: StoreEndpoint) -> Callable[[], bool]:
    """Asks, at each call, whether the store gives back the object of the last start and takes one.

    Its bucket is made when it is missing. SeaweedFS takes objects seconds before it finds old ones.
    """
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint_url,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(
            connect_timeout=2,
            read_timeout=10,
            retries={"total_max_attempts": 1},
            # Never through a proxy: it is on this machine.
            proxies={},
        ),
    )

    def is_ready() -> bool:
        try:
            try:
                client.get_object(Bucket=store.bucket, Key=_READY_KEY)["Body"].read()
            except client.exceptions.NoSuchBucket:
                client.create_bucket(Bucket=store.bucket)
            except client.exceptions.NoSuchKey:
                pass
            client.put_object(Bucket=store.bucket, Key=_READY_KEY, Body=_BODY)
        except (BotoCoreError, ClientError):
            return False
        return True

    return is_ready

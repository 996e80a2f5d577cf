"""A file in an S3 bucket → the landing file, byte for byte."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

from include.contracts.connectors import Bucket, dated
from include.ingestion.connectors.connections import connection
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.files import opened

if TYPE_CHECKING:
    from upath import UPath

    from include.contracts.source import Feed, Source

PIECE = 1 << 20  # bytes
ABSENT = {"NoSuchKey", "404"}
REFUSING = {
    *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccountProblem", "AllAccessDisabled", "403"),
    *("NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "AuthorizationHeaderMalformed", "InvalidObjectState"),
    *("InvalidToken", "ExpiredToken", "KMS.DisabledException", "400", "301"),
}


def fetch(connector: Bucket, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Copy the object of ``day`` to ``part``. Returns whether it is there."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        InvalidRegionError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    key = dated(connector.key, day)
    where = f"s3://{connector.bucket}/{key}"
    connection(connector.connection)  # the hook would go on without one, as whoever the machine is
    client = S3Hook(aws_conn_id=connector.connection).get_conn()
    try:
        # One request: its headers and its body are of the same version of the object. A checksum that the object was
        # stored with is compared by the client.
        found = client.get_object(Bucket=connector.bucket, Key=key, ChecksumMode="ENABLED")
        size, digest = copy(found["Body"].iter_chunks(PIECE), part)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ABSENT:
            return False
        kind = RefusedError if code in REFUSING else UpstreamError
        raise kind(f"{where}: {code}. Connection {connector.connection}") from error
    except (NoCredentialsError, PartialCredentialsError, ParamValidationError, InvalidRegionError) as error:
        first = str(error).partition("\n")[0]
        raise RefusedError(f"{where}: {first}. Look at the connection {connector.connection}") from None
    except BotoCoreError as error:
        raise UpstreamError(f"{where}: {error}. Connection {connector.connection}") from error
    if size != found["ContentLength"]:
        raise UpstreamError(f"{where}: {size} bytes came of {found['ContentLength']}")
    if (promised := md5_of(found)) and digest != promised:
        raise UpstreamError(f"{where}: what came has the MD5 {digest}, and its ETag is {promised}")
    return True


def copy(pieces: Iterable[bytes], part: UPath) -> tuple[int, str]:
    """Write ``pieces`` to ``part``. Returns how many bytes they were, and their MD5."""
    size, digest = 0, hashlib.md5(usedforsecurity=False)
    with opened(part, "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def md5_of(found: dict[str, Any]) -> str:
    """The MD5 that an ETag is. Empty where it is none: of an object of several parts, or one under a key of KMS."""
    etag = found["ETag"].strip('"')
    plain = found.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in found
    return etag if plain and re.fullmatch("[0-9a-f]{32}", etag) else ""

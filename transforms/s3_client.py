"""How Beam's S3 filesystem talks to its server. It needs boto3: only uses of `s3://` import it."""

from __future__ import annotations

import functools
import threading
from typing import Any

from apache_beam.io.aws import s3io
from apache_beam.io.aws.clients.s3 import boto3_client, messages
from botocore.exceptions import ClientError, ParamValidationError

TRIES = 3
EXISTS, CONFLICT = 412, 409
UNKNOWN = frozenset({400, 405, 501})
"""What servers answer that know no conditions."""


@functools.cache
def install() -> None:
    """Have Beam use one S3 client per process and options.

    Beam makes one for every single request, which takes longer than the request. What a client of
    Beam remembers of its last download stays its own; the library's client underneath is meant to
    be shared by threads.
    """
    made: dict[str, Any] = {}
    lock = threading.Lock()

    class SharedClient(boto3_client.Client):
        def __init__(self, options: Any) -> None:
            with lock:
                key = repr(sorted(_s3_options(options).items()))
                if key not in made:
                    super().__init__(options)
                    made[key] = self.client
            self.client = made[key]
            self._download_request = None
            self._download_stream = None
            self._download_pos = 0

        def complete_multipart_upload(self, request: Any) -> None:
            if request.parts:
                return super().complete_multipart_upload(request)
            # S3 makes no file of no parts, and Beam sends an empty file so.
            place = {"Bucket": request.bucket, "Key": request.object}
            self.client.abort_multipart_upload(**place, UploadId=request.upload_id)
            self.client.put_object(**place, Body=b"")
            return None

    boto3_client.Client = SharedClient


def put_new(options: Any, url: str, data: bytes) -> bool | None:
    """Put an object if there is none yet; False if there is one.

    None if the server knows no such request. Raises S3ClientError.
    """
    bucket, key = s3io.parse_s3_path(url)
    client = boto3_client.Client(options).client
    for _ in range(TRIES):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ParamValidationError:
            return None
        except ClientError as error:
            code = boto3_client.get_http_error_code(error)
            if code == CONFLICT:
                # Somebody else is about to put it; whether that succeeds is not known yet.
                continue
            if code in UNKNOWN:
                return None
            if code != EXISTS:
                raise messages.S3ClientError(str(error), code) from error
        else:
            return True
        return False
    return False


def _s3_options(options: Any) -> dict[str, Any]:
    values = options if isinstance(options, dict) else options.get_all_options()
    return {name: value for name, value in values.items() if name.startswith("s3_")}

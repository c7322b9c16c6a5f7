"""How Beam's S3 filesystem talks to its server. It needs boto3: only uses of `s3://` import it."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from apache_beam.io.aws import s3io
from apache_beam.io.aws.clients.s3 import boto3_client, messages
from apache_beam.utils.retry import PermanentException
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
)

from transforms.retry import RetryPolicy

LOG = logging.getLogger(__name__)

PATIENCE = RetryPolicy(attempts=7, first_wait_s=2.0, longest_wait_s=30.0)
"""For a server that does not answer or fails: some two minutes, beside the quick tries of boto3."""
PASSING = frozenset({408, 429})
"""Besides 5xx, the statuses that may be others in a moment."""
Found = TypeVar("Found")

EXISTS, CONFLICT = 412, 409
UNKNOWN = frozenset({400, 405, 501})
"""What servers answer that know no conditions."""


class S3UnreachableError(PermanentException):
    """A server that failed for as long as it was waited for. Beam does not try that again: it would
    do so for ten minutes more, and say nothing."""

    def __init__(self, error: Any, tries: int) -> None:
        super().__init__(f"{error.message} ({tries} tries)")
        self.code = error.code


def patiently(ask: Callable[[], Found], url: str) -> Found:
    """What the server answers. Each failure that may pass is logged, and waited for.

    Raises S3ClientError for what does not pass, S3UnreachableError for what did not.
    """
    for failures in itertools.count(1):
        try:
            return ask()
        except messages.S3ClientError as error:
            if not _is_passing(error):
                raise
            if failures == PATIENCE.attempts or isinstance(error.__context__, NoCredentialsError):
                raise S3UnreachableError(error, failures) from error
            wait_s = PATIENCE.wait_s(failures)
            LOG.warning(
                "%s: the server fails (%s); tried again in %.0f s, %d of %d tries are left",
                *(url, error.message, wait_s, PATIENCE.attempts - failures, PATIENCE.attempts),
            )
            time.sleep(wait_s)
    raise AssertionError


def _is_passing(error: Any) -> bool:
    return error.code is None or error.code >= 500 or error.code in PASSING


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a client, whose first argument is a request, asked patiently."""

    @functools.wraps(method)
    def asked(client: Any, request: Any, *more: Any) -> Any:
        return patiently(lambda: method(client, request, *more), _url_of(request))

    return asked


def _url_of(request: Any) -> str:
    for bucket, key in (("bucket", "object"), ("bucket", "prefix"), ("src_bucket", "src_key")):
        if hasattr(request, bucket) and hasattr(request, key):
            return f"s3://{getattr(request, bucket)}/{getattr(request, key)}"
    return f"s3://{request.bucket}"


_installing = threading.Lock()
_clients: dict[str, Any] = {}
"""The library's, by the options they were made with."""


def install() -> None:
    """As `_install`, once per process: of threads that come together, one does it."""
    with _installing:
        _install()


@functools.cache
def _install() -> None:
    """Have Beam use one S3 client per process and options, which waits for its server and says so.

    Beam makes one for every single request, which takes longer than the request. What a client of
    Beam remembers of its last download stays its own; the library's client underneath is meant to
    be shared by threads.
    """
    lock = threading.Lock()
    # Beam gives the same options with each request, and to read them it makes the parser of its
    # whole command line.
    latest: list[tuple[Any, Any]] = [(object(), None)]

    plain: Any = boto3_client.Client

    class SharedClient(boto3_client.Client):
        def __init__(self, options: Any) -> None:
            known, client = latest[0]
            if known is not options:
                with lock:
                    key = repr(sorted(_s3_options(options).items()))
                    if key not in _clients:
                        super().__init__(options)
                        _clients[key] = self.client
                    client = _clients[key]
                    latest[0] = (options, client)
            self.client = client
            self._download_request = None
            self._download_stream = None
            self._download_pos = 0

        get_object_metadata = _patient(plain.get_object_metadata)
        list = _patient(plain.list)
        create_multipart_upload = _patient(plain.create_multipart_upload)
        upload_part = _patient(plain.upload_part)
        delete = _patient(plain.delete)
        delete_batch = _patient(plain.delete_batch)
        copy = _patient(plain.copy)
        # Below it stands Beam's own waiting.
        get_range = _patient(plain.get_range.__wrapped__)

        @_patient
        def complete_multipart_upload(self, request: Any) -> None:
            if request.parts:
                return super().complete_multipart_upload(request)
            # S3 makes no file of no parts, and Beam sends an empty file so.
            place = {"Bucket": request.bucket, "Key": request.object}
            try:
                self.client.abort_multipart_upload(**place, UploadId=request.upload_id)
                self.client.put_object(**place, Body=b"")
            except ClientError as error:
                raise _told(error) from error
            return None

    boto3_client.Client = SharedClient


def put_new(options: Any, url: str, data: bytes) -> bool | None:
    """Put an object if there is none yet; False if there is one.

    None if the server knows no such request. Raises what `patiently` raises.
    """
    bucket, key = s3io.parse_s3_path(url)
    client = boto3_client.Client(options).client

    def ask() -> bool | None:
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ParamValidationError:
            return None
        except (BotoCoreError, ClientError) as error:
            told = _told(error)
            if told.code in UNKNOWN:
                return None
            if told.code not in (EXISTS, CONFLICT):
                raise told from error
            # In a conflict somebody else is about to put it: who asks looks what is there.
            return False
        return True

    return patiently(ask, url)


def _told(error: Exception) -> Any:
    return messages.S3ClientError(str(error), boto3_client.get_http_error_code(error))


def _s3_options(options: Any) -> dict[str, Any]:
    values = options if isinstance(options, dict) else options.get_all_options()
    return {name: value for name, value in values.items() if name.startswith("s3_")}

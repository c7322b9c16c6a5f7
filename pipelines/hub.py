"""Uploading files to a dataset of the Hugging Face hub, in one commit and resumable.

Contents go first, a batch at a time; what the hub has already is not sent again. Then one commit
makes them the dataset: who reads it sees the old one or the new one, never a half. The token is the
hub client's business: environment or its own store; here it is neither read nor shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transforms.features.embed import reach_hub
from transforms.publish.lineage import INHERITED_FILE
from transforms.publish.manifest import FILES, MANIFEST_FILE
from transforms.publish.shards import SHARD_PATTERN

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile

SENT_AT_ONCE = 16
"""Files in a batch: after each it is said how far it is."""
COMMIT_FILES = 1000
"""Files in a commit. A dataset with more takes several, the manifest in the last."""

Say = Callable[[str], None]


class HubError(Exception):
    """The hub can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class Upload:
    """A file to be there in the end."""

    path: str
    """Below the dataset, and in the repository."""
    bytes: int
    sha256: str


def upload(
    dataset: Path, repo: str, files: Sequence[Upload], *, public: bool, message: str, say: Say
) -> str:
    """Make the repository hold these files of a folder, and no others of a dataset's kind; gives
    its address.

    Files that are not of a dataset's kind (such as .gitattributes) stay in the repository. Raises
    HubError. What was sent before an error counts the next time.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    endpoint = constants.ENDPOINT
    try:
        reach_hub()
    except OSError as error:
        raise HubError(f"the hub can't be reached at {endpoint}: {error}") from error
    api = HfApi(library_name="proofreel")
    try:
        head = _open(api, repo, public=public)
        held = {one.path for one in _tree(api, repo)}
        wanted = {one.path for one in files}
        stale = sorted(path for path in held - wanted if _is_ours(path))
        additions = _send(api, repo, dataset, files, say)
        _commit(api, repo, additions, stale, head, message, say)
        _compare(api, repo, files)
    except HubError:
        raise
    except Exception as error:
        raise HubError(_in_words(error, repo, endpoint)) from error
    return f"{endpoint}/datasets/{repo}"


def _open(api: HfApi, repo: str, *, public: bool) -> str:
    """Make sure that the repository is there and as visible as asked for; gives its head."""
    api.whoami()  # without a token or with a wrong one this fails in clear words
    api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
    info = api.repo_info(repo, repo_type="dataset")
    if bool(info.private) == public:
        is_so, asked = ("private", "public") if public else ("public", "private")
        option = "leave --public out" if public else "say --public"
        raise HubError(
            f"{repo} is there already and {is_so}, asked for was {asked}; nothing was sent. Change "
            f"that in its settings on the hub, or {option}"
        )
    return str(info.sha or "")


def _is_ours(path: str) -> bool:
    named = path in (*FILES, MANIFEST_FILE) or INHERITED_FILE.fullmatch(path)
    return bool(named or SHARD_PATTERN.fullmatch(path))


def _tree(api: HfApi, repo: str) -> list[RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repo, recursive=True, repo_type="dataset")
    return [one for one in entries if isinstance(one, RepoFile)]


def _send(
    api: HfApi, repo: str, dataset: Path, files: Sequence[Upload], say: Say
) -> list[CommitOperationAdd]:
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(one.path, dataset / one.path) for one in files]
    done = 0
    for start in range(0, len(additions), SENT_AT_ONCE):
        batch = additions[start : start + SENT_AT_ONCE]
        api.preupload_lfs_files(repo, batch, repo_type="dataset")
        done += len(batch)
        say(f"there: {done} of {len(files)} files")
    for addition, file in zip(additions, files, strict=True):
        if addition.upload_info.sha256.hex() != file.sha256:
            raise HubError(
                f"{dataset / file.path} is not what was checked, something changed it meanwhile; "
                f"{repo} is as it was"
            )
    return additions


def _commit(
    api: HfApi,
    repo: str,
    additions: Sequence[CommitOperationAdd],
    stale: Sequence[str],
    head: str,
    message: str,
    say: Say,
) -> None:
    from huggingface_hub import CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationDelete(path) for path in stale),
        *additions,
    ]
    for start in range(0, len(operations), COMMIT_FILES):
        batch = operations[start : start + COMMIT_FILES]
        # On top of what was looked at: who else writes at the same time is noticed.
        made = api.create_commit(
            repo, batch, commit_message=message, repo_type="dataset", parent_commit=head or None
        )
        head = made.oid
    for path in stale:
        say(f"removed, of an earlier dataset: {path}")


def _compare(api: HfApi, repo: str, files: Sequence[Upload]) -> None:
    """Whether what lies there is what was to be sent: by hash for large files, else by size."""
    held = {one.path: one for one in _tree(api, repo)}
    for file in files:
        there = held.get(file.path)
        if there is None:
            raise HubError(f"{repo}: {file.path} is not there after the commit; run it again")
        if there.size != file.bytes or (there.lfs is not None and there.lfs.sha256 != file.sha256):
            raise HubError(f"{repo}: {file.path} is not as it was sent; run it again")


def _in_words(error: BaseException, repo: str, endpoint: str) -> str:
    """What a person can do about an error of the hub's client, which wraps one in another."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    if isinstance(error, LocalTokenNotFoundError):
        return (
            f"no token for {endpoint}: set HF_TOKEN to one with write access, or log in with "
            "`hf auth login`"
        )
    answered = next((one for one in chain if isinstance(one, HfHubHTTPError)), None)
    if answered is None:
        root = chain[-1]
        return (
            f"the upload to {repo} broke: {type(root).__name__}: {_first_line(root)}; the same "
            "command goes on, what is there is not sent again"
        )
    status = answered.response.status_code
    if status == 401:
        return f"{endpoint} does not know the token: make a new one, with write access"
    if status == 403:
        return (
            f"the token may not write to {repo}: it needs write access, and the owner has to be "
            f"you or an organization of yours ({answered.server_message or 'no reason given'})"
        )
    if status == 412:
        return f"somebody else changed {repo} meanwhile; run the same command again"
    said = answered.server_message or _first_line(answered)
    return f"{endpoint} answered {status}: {said}; what is there is not sent again"


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "no message")[:200]

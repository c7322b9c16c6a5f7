"""proofreel publish, against a stand-in of the hub that the real client talks HTTP to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import READ_TOKEN, TOKEN, USER, Hub, Repo, serving_hub
from pipeline_helpers import samples, sha256_of_files, start

from pipelines.cli import main
from pipelines.hub import _in_words
from pipelines.publish import MAX_NAMED
from transforms.publish.check import dataset_faults

Capture = pytest.CaptureFixture[str]
REPO = f"{USER}/moving-squares"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and this process set to use it as environment variables would at its start."""
    with serving_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        # Other tests of this process may have set it.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        # The stand-in has no Xet storage, so files go the older way.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """The same for a process of its own."""
    more = {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
    }
    return {**os.environ, **more, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def publish(*arguments: object) -> int:
    return main(["publish", *(str(one) for one in arguments)])


def held(hub: Hub) -> dict[str, bytes]:
    files = dict(hub.repos[REPO].files)
    assert files.pop(".gitattributes")
    return files


def lying(out: Path) -> dict[str, bytes]:
    folder = out / "dataset"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_dry_run_sends_nothing(hub: Hub, out: Path, capsys: Capture) -> None:
    (out / "dataset" / "notes.txt").write_text("mine")
    before = sha256_of_files(out)
    assert publish(out, REPO, "--dry-run") == 0
    said = capsys.readouterr().out
    assert hub.requests == []
    assert sha256_of_files(out) == before
    files = lying(out)
    for name, data in files.items():
        if name != "notes.txt":
            [line] = [line for line in said.splitlines() if f" {name} " in line]
            assert f" {len(data):,} " in line
    total = sum(len(data) for name, data in files.items() if name != "notes.txt")
    assert f"to: datasets/{REPO}, private; {len(files) - 1} files, {total:,} bytes" in said
    assert "stays here, not in the manifest: notes.txt" in said
    assert f"licence not stated: {len(samples(out))} samples of bikes.mp4" in said
    assert "dry run: nothing was sent" in said


def test_what_the_manifest_lists_goes_up_and_nothing_else(
    hub: Hub, out: Path, capsys: Capture
) -> None:
    expected = lying(out)
    (out / "dataset" / "notes.txt").write_text("mine")
    (out / "dataset" / "sft" / "draft.json").write_text("{}")
    assert publish(out, REPO) == 0
    assert held(hub) == expected
    repo = hub.repos[REPO]
    assert repo.private, "unless --public is given"
    assert len(repo.commits) == 1, "readers see all of it or nothing"
    said = capsys.readouterr()
    assert f"published: {hub.address}/datasets/{REPO}" in said.out
    assert f"there: {len(expected)} of {len(expected)} files" in said.out
    assert TOKEN not in said.out + said.err + str(repo.commits)
    assert not any("work" in path for path in repo.files)

    # Again: all is there, so nothing is sent and nothing committed.
    hub.requests.clear()
    assert publish(out, REPO) == 0
    assert hub.sent("PUT") == []
    assert len(repo.commits) == 1


def test_an_earlier_dataset_gives_way(hub: Hub, finished: Path, capsys: Capture) -> None:
    """Its shards would be read together with the new ones; what is not ours stays."""
    old = {"sft/train-000099.tar": b"old", "LICENSE": b"mine", "README.md": b"old"}
    old |= {f"parent-{'0' * 64}.json": b"{}", f"parent-{'0' * 64}.md": b"old"}
    hub.repos[REPO] = Repo(private=True, files={**old, ".gitattributes": b"x"})
    assert publish(finished, REPO) == 0
    assert held(hub) == lying(finished) | {"LICENSE": b"mine"}
    assert "removed, of an earlier dataset: sft/train-000099.tar" in capsys.readouterr().out


def test_a_broken_connection_is_taken_up_again(hub: Hub, finished: Path) -> None:
    """Dropped once in the middle of a shard, the client tries again by itself."""
    dropped: list[str] = []

    def drop_once(oid: str, so_far: int) -> bool:
        if not dropped:
            dropped.append(oid)
            return False
        return True

    hub.on_piece = drop_once
    assert publish(finished, REPO) == 0
    assert len(dropped) == 1
    assert held(hub) == lying(finished)


def test_a_killed_upload_goes_on_where_it_was(hub: Hub, finished: Path, tmp_path: Path) -> None:
    """What had arrived is not sent again, and until the end nobody sees a half."""
    reached, go_on = threading.Event(), threading.Event()

    def stop_at_the_third(oid: str, so_far: int) -> bool:
        if len(hub.blobs) >= 3:
            reached.set()
            go_on.wait(60)
            return False
        return True

    hub.on_piece = stop_at_the_third
    with start("publish", finished, REPO, env=environment(hub, tmp_path)) as process:
        assert reached.wait(120)
        process.kill()
        process.communicate(timeout=30)
    go_on.set()
    arrived = set(hub.blobs)
    assert len(arrived) >= 3
    assert held(hub) == {}
    hub.on_piece = lambda oid, so_far: True
    hub.requests.clear()
    assert publish(finished, REPO) == 0
    assert held(hub) == lying(finished)
    again = {path.rpartition("/")[2] for path in hub.sent("PUT")}
    assert again
    assert again & arrived == set()


def test_public_only_with_licences(hub: Hub, finished: Path, capsys: Capture) -> None:
    assert publish(finished, REPO, "--public") == 1
    said = capsys.readouterr().err
    assert "no licence is stated for 3 sources" in said
    assert "bikes.mp4" in said
    assert "--allow-unlicensed" in said
    assert hub.requests == []
    assert publish(finished, REPO, "--public", "--dry-run") == 1
    assert publish(finished, REPO, "--public", "--allow-unlicensed") == 0
    assert not hub.repos[REPO].private


@pytest.mark.parametrize("private", [True, False])
def test_what_is_there_does_not_change_its_reach(
    private: bool, hub: Hub, finished: Path, capsys: Capture
) -> None:
    hub.repos[REPO] = Repo(private=private)
    options = ["--public", "--allow-unlicensed"] if private else []
    assert publish(finished, REPO, *options) == 1
    is_so, asked = ("private", "public") if private else ("public", "private")
    assert f"is there already and {is_so}, asked for was {asked}" in capsys.readouterr().err
    assert held(hub) == {}
    assert hub.sent("PUT") == []


def test_a_faulty_dataset_stays(hub: Hub, out: Path, capsys: Capture) -> None:
    path = out / "dataset" / "rewards.py"
    path.write_text(path.read_text() + "\n# better\n")
    assert publish(out, REPO) == 1
    said = capsys.readouterr().err
    assert "faults and stays here" in said
    assert "rewards.py: has sha256" in said
    assert hub.requests == []


def test_of_many_faults_the_first_are_named_and_all_are_counted(
    hub: Hub, out: Path, capsys: Capture
) -> None:
    for shard in sorted((out / "dataset").rglob("*.tar")):
        content = bytearray(shard.read_bytes())
        content[600:-1024] = bytes(len(content) - 1624)
        shard.write_bytes(content)
    faults = list(dataset_faults(out / "dataset"))
    assert len(faults) > MAX_NAMED
    assert publish(out, REPO) == 1
    said = capsys.readouterr().err
    assert f"{len(faults)} faults and stays here" in said
    assert said.count("\n  ") == MAX_NAMED
    assert hub.requests == []


def test_a_file_that_changes_on_the_way_does_not_get_in(
    hub: Hub, out: Path, capsys: Capture
) -> None:
    """It was whole when it was checked."""
    path = out / "dataset" / "rewards.py"
    text = path.read_text()

    def change(oid: str, so_far: int) -> bool:
        path.write_text("#" + text[1:])
        return True

    hub.on_piece = change
    assert publish(out, REPO) == 1
    assert "rewards.py is not what was checked" in capsys.readouterr().err
    assert held(hub) == {}


def test_without_a_token(
    hub: Hub, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert publish(finished, REPO) == 1
    said = capsys.readouterr().err
    assert f"no token for {hub.address}: set HF_TOKEN" in said
    assert "hf auth login" in said


@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [
        ("hf_unknown", REPO, "does not know the token"),
        (READ_TOKEN, REPO, "the token may not write to squarelab/moving-squares"),
        (TOKEN, "somebody/else", "the token may not write to somebody/else"),
    ],
)
def test_without_rights(
    token: str, repo: str, said: str, hub: Hub, finished: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token)
    assert publish(finished, repo) == 1
    heard = capsys.readouterr()
    assert said in heard.err
    assert token not in heard.err + heard.out
    assert "Traceback" not in heard.err
    assert hub.repos == {}


def test_no_hub(hub: Hub, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert publish(finished, REPO) == 1
    assert "the hub can't be reached at http://127.0.0.1:9" in capsys.readouterr().err
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert publish(finished, REPO) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_another_writer_is_not_overwritten(hub: Hub, finished: Path, capsys: Capture) -> None:
    hub.repos[REPO] = Repo(private=True)

    def write() -> None:
        hub.repos[REPO].commits.append([])

    hub.before_commit = write
    assert publish(finished, REPO) == 1
    assert f"somebody else changed {REPO} meanwhile" in capsys.readouterr().err
    assert held(hub) == {}


def test_a_signed_address_is_not_shown() -> None:
    """Whoever has it can write there."""
    address = "https://store.example/lfs/1?X-Amz-Credential=me&X-Amz-Signature=secret"
    said = _in_words(
        ConnectionError(f"no answer from '{address}' (timed out)"), REPO, "https://hf.co"
    )
    assert "no answer from 'https://store.example/lfs/1?...' (timed out)" in said
    assert "secret" not in said


@pytest.mark.parametrize("repo", ["clips", "a/b/c", "/clips", "me/", "me/../x", "m e/c", "me/-c"])
def test_names_that_are_none(repo: str, finished: Path, capsys: Capture) -> None:
    assert publish(finished, repo) == 2
    assert f"{repo}: name the dataset as owner/name" in capsys.readouterr().err


def test_no_dataset(tmp_path: Path, capsys: Capture) -> None:
    assert publish(tmp_path / "nowhere", REPO) == 2
    assert "no such folder" in capsys.readouterr().err
    assert publish(tmp_path, REPO) == 1
    assert "manifest.json: is not there" in capsys.readouterr().err


LOADS = """
import json, sys
import datasets

repo, split = sys.argv[1:]
found = {}
for part, rows in datasets.load_dataset(repo, split, streaming=True).items():
    for row in rows.cast_column("mp4", datasets.Video(decode=False)):
        video = row["mp4"]["bytes"]
        found[row["__key__"]] = [part, row["json"]["answer"]["text"], len(video)]
print(json.dumps(found))
"""


def test_what_was_published_is_loaded_by_its_name(hub: Hub, finished: Path, tmp_path: Path) -> None:
    """Hugging Face `datasets` streams it from the hub, by the configs of the card."""
    assert publish(finished, REPO) == 0
    done = subprocess.run(
        [sys.executable, "-c", LOADS, REPO, "sft"],
        env=environment(hub, tmp_path), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {key: one for key, one in samples(finished).items() if one["split"] == "sft"}
    assert found.keys() == expected.keys()
    assert {one[0] for one in found.values()} == {"train", "validation"}
    for key, (_, text, size_bytes) in found.items():
        assert text == expected[key]["answer"]["text"]
        assert size_bytes > 1000

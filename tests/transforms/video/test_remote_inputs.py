"""Inputs at URLs: the same sources, under the same names, as from a folder of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clock_video import Work
from listed_inputs import expand_inputs
from object_store import BUCKET, ObjectStore

from schemas.rejection import Reason, Rejected
from schemas.source import Source, url_location
from transforms.memo import MemoStore
from transforms.video.fetching import local_path
from transforms.video.ingest import ingest
from transforms.video.inputs import BadInputError
from transforms.video.remote_inputs import url_beside
from transforms.video.sidecars import Sidecar, UnusableError, read_sidecar, sidecars

NAMES = ("in/a.mp4", "in/deep/b [1].mkv", "in/deep/notes.txt", "in2/c.mp4", "in/empty/")


@pytest.fixture
def bucket(objects: ObjectStore) -> ObjectStore:
    for name in NAMES:
        objects.client.put_object(Bucket=BUCKET, Key=name, Body=name.encode())
    return objects


def names(*inputs: str, out: str | None = None) -> list[tuple[str, str]]:
    sources, refused = expand_inputs(inputs, out)
    assert refused == []
    return [(source.uri, source.path) for source in sources]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("in", ["a.mp4", "deep/b [1].mkv"]),
        ("in/", ["a.mp4", "deep/b [1].mkv"]),
        ("in/a.mp4", ["a.mp4"]),
        ("in/deep/notes.txt", ["notes.txt"]),
        ("in/deep/b [1].mkv", ["b [1].mkv"]),
        ("in*/*.mp4", ["in/a.mp4", "in2/c.mp4"]),
        ("in/**.mkv", ["deep/b [1].mkv"]),
    ],
)
def test_names_count_from_what_was_named(
    bucket: ObjectStore, given: str, expected: list[str]
) -> None:
    assert [name for name, _ in names(bucket.url(given))] == expected


@pytest.mark.parametrize("given", ["nothing", "in/none.mp4", "x*/*.mp4", "in/empty/"])
def test_what_names_nothing_is_said(bucket: ObjectStore, given: str) -> None:
    with pytest.raises(BadInputError, match="s3://films/"):
        expand_inputs([bucket.url(given)])


def test_the_output_is_no_input(bucket: ObjectStore) -> None:
    found = names(bucket.url(""), out=bucket.url("in", "deep/"))
    assert [name for name, _ in found] == ["in/a.mp4", "in2/c.mp4"]


def test_a_manifest_counts_from_where_it_lies(bucket: ObjectStore, tmp_path: Path) -> None:
    rows = [
        {"uri": "a.mp4", "license": "CC0"},
        {"uri": "../in2/c.mp4"},
        {"uri": "s3://elsewhere/far/d.mp4", "subtitles": "d.srt"},
        {"uri": "/etc/passwd"},
        {"uri": "../../x.mp4"},
        {"uri": "https://films.test/x.mp4"},
        {"uri": "s3:///x.mp4"},
    ]
    text = "\n".join(map(json.dumps, rows))
    bucket.client.put_object(Bucket=BUCKET, Key="in/list.jsonl", Body=text.encode())
    sources, refused = expand_inputs([bucket.url("in", "list.jsonl")])
    assert [(one.uri, one.path) for one in sources] == [
        ("a.mp4", "s3://films/in/a.mp4"),
        ("d.mp4", "s3://elsewhere/far/d.mp4"),
        ("in2/c.mp4", "s3://films/in2/c.mp4"),
    ]
    assert [one.subject for one in refused] == [f"list.jsonl:{n}" for n in (4, 5, 6, 7)]
    bucket.client.delete_object(Bucket=BUCKET, Key="in/list.jsonl")
    with pytest.raises(BadInputError, match="no such file"):
        expand_inputs([bucket.url("in", "list.jsonl")])


def test_a_manifest_here_may_name_what_lies_elsewhere(tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"uri": "s3://films/in/what? #1.mp4"}')
    assert names(str(manifest)) == [("what? #1.mp4", "s3://films/in/what? #1.mp4")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("b.mp4", "s3://films/in/b.mp4"), ("./../b.mp4", "s3://films/b.mp4")],
)
def test_urls_beside_a_manifest(name: str, expected: str) -> None:
    assert url_beside("s3://films/in", name) == expected


def at(url: str) -> Source:
    return Source(uri="film.mp4", location=url_location(url))


def test_a_video_elsewhere_is_the_video_here(
    plain: Work, objects: ObjectStore, tmp_path: Path
) -> None:
    objects.put(Path(plain.video.source.path), "in/plain.mp4")
    source = at(objects.url("in", "plain.mp4"))
    video = ingest(source, MemoStore(str(tmp_path / "memo")))
    assert (video.id, video.probe) == (plain.video.id, plain.video.probe)
    objects.requests.clear()
    assert Path(local_path(source)).read_bytes() == Path(plain.video.source.path).read_bytes()
    assert [method for method, _ in objects.requests] == ["HEAD"], "it is copied once"


def test_a_video_that_changed_is_copied_again(objects: ObjectStore, tmp_path: Path) -> None:
    for content in (b"first", b"second, longer"):
        objects.client.put_object(Bucket=BUCKET, Key="a.mp4", Body=content)
        assert Path(local_path(at(objects.url("a.mp4")))).read_bytes() == content


@pytest.mark.parametrize("url", ["s3://films/none.mp4", "s3://no-such-bucket/a.mp4"])
def test_a_video_that_is_gone_costs_itself(objects: ObjectStore, url: str) -> None:
    with pytest.raises(Rejected) as rejected:
        local_path(at(url))
    assert rejected.value.reason is Reason.NOT_FOUND


def test_subtitles_lie_beside_a_video_elsewhere_too(objects: ObjectStore, tmp_path: Path) -> None:
    for name in ("in/film.en.srt", "in/film.srt", "in/film2.srt", "in/film.mp4"):
        objects.client.put_object(Bucket=BUCKET, Key=name, Body=name.encode())
    found = list(sidecars(objects.url("in", "film.mp4")))
    assert [(one.name, one.language) for one in found] == [("film.srt", ""), ("film.en.srt", "en")]
    assert read_sidecar(found[0]) == b"in/film.srt"
    for name in ("none.srt", "../in/film.srt"):
        with pytest.raises(UnusableError):
            read_sidecar(Sidecar(objects.url("in"), name))

"""croissant.json: mlcroissant takes it, loads the data by it, and it says only what was counted."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest
import yaml
from publish_helpers import CONFIG, Item, edit_manifest, make_funnel, make_sample, read_members
from pydantic import ValidationError

from transforms.publish.about import TITLE, AboutSettings
from transforms.publish.card import CardFacts
from transforms.publish.card_counts import card_entry, count
from transforms.publish.check import check_dataset
from transforms.publish.croissant import (
    CONFORMS_TO,
    DESCRIBED,
    WrittenFile,
    render_croissant,
)
from transforms.publish.manifest import CROISSANT_FILE, Manifest

ABOUT = {
    "title": "Moving squares",
    "creator": "Square Lab",
    "url": "https://example.org/squares",
    "date_published": "2026-11-29",
    "version": "1.2.0",
    "citation": "Squares, 2026",
}
FILES = {name: WrittenFile(sha256="0" * 64, bytes=7) for name in DESCRIBED}


def facts(**changes: object) -> CardFacts:
    given: dict[str, object] = {
        "title": TITLE,
        "proofreel_version": "0.1.0",
        "config": CONFIG,
        "versions": {"ffmpeg": "7"},
        "shards": (),
        "funnel": tuple(make_funnel(3)),
    }
    return CardFacts.model_validate({**given, **changes})


def rendered(items: list[Item], **changes: object) -> dict[str, Any]:
    counts = count(card_entry(item.sample, item.partition) for item in items)
    value: dict[str, Any] = json.loads(render_croissant(facts(**changes), counts, FILES))
    return value


@pytest.fixture
def described(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlcroissant.Dataset:
    """The whole dataset, as mlcroissant sees it."""
    # It unpacks into a cache of the user that is keyed by the path inside the dataset alone.
    extract = "mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH"
    monkeypatch.setattr(extract, type(mlcroissant.constants.EXTRACT_PATH)(tmp_path / "unpacked"))
    return mlcroissant.Dataset(str(built / CROISSANT_FILE))


def test_mlcroissant_finds_no_error(described: mlcroissant.Dataset, built: Path) -> None:
    issues = described.metadata.ctx.issues
    assert issues.errors == set()
    missing = {text.split('"')[1].rpartition("/")[2] for text in issues.warnings}
    assert missing == {"citeAs", "datePublished", "version"}, "only the publisher knows these"
    assert described.metadata.ctx.conforms_to.value == CONFORMS_TO
    manifest = Manifest.model_validate_json((built / "manifest.json").read_text())
    hashes = {one.content_url: one.sha256 for one in described.metadata.file_objects}
    assert hashes == {shard.path: shard.sha256 for shard in manifest.shards} | {
        name: manifest.files[name] for name in DESCRIBED
    }


def test_mlcroissant_reads_the_index(described: mlcroissant.Dataset, built: Path) -> None:
    rows = pq.read_table(built / "index.parquet").to_pylist()
    records = list(described.records("index"))
    assert len(records) == len(rows) == 17
    for record, row in zip(records, rows, strict=True):
        found = {name.removeprefix("index/"): value for name, value in record.items()}
        texts = {name: value.encode() for name, value in row.items() if isinstance(value, str)}
        assert found == row | texts
    stages = [one["rejected/stage"] for one in described.records("rejected")]
    assert stages == [b"ingest", b"select", b"select"]


@pytest.mark.parametrize("split", ["sft", "rl", "preference", "process", "online"])
def test_mlcroissant_reads_samples_from_the_shards(
    split: str, described: mlcroissant.Dataset, built: Path
) -> None:
    """Over all shards of a split, to the byte."""
    shards = sorted((built / split).glob("*.tar"))
    held = dict(member for shard in shards for member in read_members(shard))
    found: dict[str, bytes] = {}
    for name, suffix in ((split, "json"), (f"{split}-clips", "mp4")):
        for record in described.records(name):
            found[f"{record[f'{name}/id'].decode()}.{suffix}"] = record[f"{name}/{suffix}"]
    assert found == held
    assert len(shards) > 1 or split != "sft"


def test_mlcroissant_notices_a_changed_file(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = dataset / "index.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    changed = mlcroissant.Dataset(str(dataset / CROISSANT_FILE))
    with pytest.raises(Exception, match=r"sequential|stream") as error:
        list(changed.records("index"))
    assert "Hash of downloaded file" in str(error.value.__cause__)


def test_all_that_a_publisher_can_say(items: list[Item]) -> None:
    value = rendered(items, config={**CONFIG, "publish": {"about": ABOUT}})
    metadata = mlcroissant.Dataset(value).metadata
    assert metadata.ctx.issues.errors == set()
    assert metadata.ctx.issues.warnings == set(), "nothing that is recommended is missing"
    assert metadata.name == "Moving squares"
    assert metadata.creators[0].name == "Square Lab"
    assert metadata.date_published.date().isoformat() == "2026-11-29"
    assert (metadata.version, metadata.url) == ("1.2.0", "https://example.org/squares")
    assert metadata.cite_as == "Squares, 2026"


def test_a_day_as_yaml_reads_it() -> None:
    about = yaml.safe_load("{date_published: 2026-11-29, version: 1.2.0}")
    found = AboutSettings.model_validate(about)
    assert (found.date_published, found.version) == ("2026-11-29", "1.2.0")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"date_published": day} for day in ("20261129", "2026-02-30", "today")),
        *({"version": one} for one in ("1", "1.0", "v1.0.0")),
        *({"url": one} for one in ("example.org", "file:///etc", "https://a b")),
        {"title": ""},
        {"date": "2026-11-29"},
    ],
    ids=str,
)
def test_what_a_publisher_can_not_say(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        AboutSettings.model_validate(wrong)


def test_it_says_what_was_counted(items: list[Item]) -> None:
    value = rendered(items, prompts={"solve": "Look."}, notes=("random weights",), config=CONFIG)
    metadata = mlcroissant.Dataset(value).metadata
    assert "teacher: measure 1 (17 samples)" in metadata.machine_annotation_tools
    assert "ffmpeg 7" in metadata.machine_annotation_tools
    look = hashlib.sha256(b"Look.").hexdigest()
    protocol = "\n".join(metadata.data_annotation_protocol)
    assert f"Prompt template solve, SHA-256 {look}" in protocol
    assert "thresholds.answer 0.5, thresholds.spans 1.0" in protocol
    # The one sample of `online` was asked again.
    assert "For 1 of 17 samples a model was asked again" in protocol
    prepared = "\n".join(metadata.data_preprocessing_protocol)
    assert "Stage select: 6 clips in, 4 out, rejected: near_duplicate 1, too_dark 1" in prepared
    assert "near_duplicate_cosine 0.97" in prepared
    biases = "\n".join(metadata.data_biases)
    assert "The source with the most samples gives 17 of 17 (100.0 %)" in biases
    assert "Right letters of the 10 questions with options in sft: B 100.0 %" in biases
    assert "random weights" in metadata.data_limitations
    with_sound = sum(item.sample.media[0].has_audio for item in items)
    personal = "\n".join(metadata.personal_sensitive_information)
    assert f"{with_sound} of 17 samples have clips with sound." in personal
    assert 0 < with_sound < 17


def test_spoken_words_are_counted(items: list[Item]) -> None:
    heard = items[0].sample.model_copy(update={"extra_json": '{"lines":[{"text":"hello"}]}'})
    value = rendered([Item(heard, "train", items[0].clip), items[1]])
    said = "1 of 2 samples hold spoken words as text (subtitles or recognized speech)."
    assert said in value["rai:personalSensitiveInformation"]


def test_same_for_any_order(items: list[Item]) -> None:
    shuffled = list(items)
    random.Random(1).shuffle(shuffled)
    assert json.dumps(rendered(shuffled)) == json.dumps(rendered(items))


def test_no_samples() -> None:
    value = rendered([])
    assert mlcroissant.Dataset(value).metadata.ctx.issues.errors == set()
    assert {one["@id"] for one in value["recordSet"]} == {"index", "rejected"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("CC BY 4.0", "https://spdx.org/licenses/CC-BY-4.0"),
        ("cc0-1.0", "https://spdx.org/licenses/CC0-1.0"),
        ("MIT", "https://spdx.org/licenses/MIT"),
        ("ODbL", "https://spdx.org/licenses/ODbL-1.0"),
        ("our own", "our own"),
        ("cc", "cc"),
    ],
)
def test_licenses_of_the_sources(given: str, expected: str, items: list[Item]) -> None:
    one = make_sample("s1", items[0].clip, license=given)
    unstated = make_sample("s2", items[0].clip, license="")
    value = rendered([Item(sample, "train", items[0].clip) for sample in (one, unstated)])
    assert value["license"] == ["not stated", expected]
    source = {"@type": "sc:CreativeWork", "name": "https://example.org/one"}
    source |= {"url": "https://example.org/one"}
    assert len(value["isBasedOn"]) == 2
    assert all(one in value["isBasedOn"] for one in (source | {"license": expected}, source))
    assert "For 1 of 2 samples no licence was stated." in value["rai:dataCollection"]


# Checked -----------------------------------------------------------------------------------------


def test_local_paths_do_not_reach_it(items: list[Item]) -> None:
    sample = make_sample("s1", items[0].clip)
    media = sample.media[0].model_copy(update={"source_uri": "/secret/place/a.mp4"})
    provenance = sample.provenance.model_copy(update={"source_url": ""})
    hidden = sample.model_copy(update={"media": [media], "provenance": provenance})
    value = rendered([Item(hidden, "train", items[0].clip)])
    assert "secret" not in json.dumps(value)
    assert value["isBasedOn"][0]["name"] == "a.mp4"


def change(dataset: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((dataset / CROISSANT_FILE).read_text())
    edit(value)
    replace(dataset, json.dumps(value).encode())


def replace(dataset: Path, data: bytes) -> None:
    """Another croissant.json, and the manifest says so."""
    (dataset / CROISSANT_FILE).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit_manifest(dataset, lambda value: value["files"].update({CROISSANT_FILE: sha256}))


def faults(dataset: Path) -> list[str]:
    return [str(fault) for fault in check_dataset(dataset)]


def test_check_finds_what_is_not_so(dataset: Path) -> None:
    def edit(value: dict[str, Any]) -> None:
        files = {one["@id"]: one for one in value["distribution"]}
        files["index.parquet"]["sha256"] = "f" * 64
        files["sft/train-000000.tar"]["contentSize"] = "5 B"
        files["rl/train-000000.tar"]["contentUrl"] = "https://example.org/other.tar"
        files["rewards.py"]["@id"] = "strange.py"
        value["conformsTo"] = "http://mlcommons.org/croissant/1.0"

    change(dataset, edit)
    found = faults(dataset)
    assert [one.partition(" is ")[0] for one in found] == [
        "croissant.json: conformsTo:",
        "croissant.json: index.parquet: sha256:",
        "croissant.json: rewards.py:",
        "croissant.json: rl/train-000000.tar: contentUrl:",
        "croissant.json: sft/train-000000.tar: contentSize:",
        "croissant.json: strange.py:",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[1]", "is no JSON object"),
        (b"{", "is no JSON object"),
        (b"[" * 100_000, "is no JSON object"),
        (b"\xff", "is no UTF-8 text"),
        (b'{"distribution": 3}', "conformsTo"),
        (b'{"distribution": [3, {"@type": "cr:FileObject", "@id": []}]}', "is not described"),
    ],
)
def test_check_survives_nonsense(data: bytes, said: str, dataset: Path) -> None:
    replace(dataset, data)
    assert any(said in one for one in faults(dataset))


def test_a_link_is_looked_at_like_a_file(dataset: Path, tmp_path: Path) -> None:
    """As the hub's cache keeps files."""
    replace(dataset, b"[1]")
    (dataset / CROISSANT_FILE).rename(tmp_path / "blob")
    (dataset / CROISSANT_FILE).symlink_to(tmp_path / "blob")
    assert any("is no JSON object" in one for one in faults(dataset))


def test_check_wants_it(dataset: Path) -> None:
    (dataset / CROISSANT_FILE).unlink()
    assert any("croissant.json" in one for one in faults(dataset))
    edit_manifest(dataset, lambda value: value["files"].pop(CROISSANT_FILE))
    assert "manifest.json: files: does not list croissant.json" in faults(dataset)

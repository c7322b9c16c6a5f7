"""croissant.json: all files of a dataset, their columns and how it was made, for machines.

Croissant 1.1 (http://mlcommons.org/croissant/1.1), with its RAI terms. Paths are relative to the
file, so that the dataset can be moved; the bytes follow from the dataset, not from clock or place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.base import SCHEMA_VERSION
from schemas.sample import Split
from transforms.publish.about import AboutSettings, about_of
from transforms.publish.card import HUB_LICENSES, MEANINGS, CardFacts
from transforms.publish.card_counts import NOT_STATED, Counts
from transforms.publish.index import INDEX_SCHEMA, REJECTED_SCHEMA
from transforms.publish.manifest import INDEX_FILE, REJECTED_FILE, REWARDS_FILE, ShardEntry
from transforms.publish.rai import rai_fields

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
DESCRIBED: Mapping[str, tuple[str, str]] = {
    INDEX_FILE: ("application/x-parquet", "One row for each sample: what it is, where it lies."),
    REJECTED_FILE: ("application/x-parquet", "One row for each rejection: stage, reason, subject."),
    REWARDS_FILE: ("text/x-python", "The functions that graded the answers, to be used as reward."),
}
"""Files beside the shards that croissant.json lists: format and meaning. The card is left out:
people edit it where it is published."""

_CROISSANT_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
    "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset",
    "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
}
"""The terms of Croissant 1.1 as its readers expect them to be abbreviated."""

_SPDX = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0", "unlicense": "Unlicense", "cdla-permissive-1.0": "CDLA-Permissive-1.0",
    "cdla-permissive-2.0": "CDLA-Permissive-2.0", "cdla-sharing-1.0": "CDLA-Sharing-1.0",
}  # fmt: skip
"""SPDX's spelling of the hub's names; those of Creative Commons only differ in case."""


@dataclass(frozen=True)
class WrittenFile:
    """A file beside the shards, as it was written."""

    sha256: str
    bytes: int


def render_croissant(facts: CardFacts, counts: Counts, files: Mapping[str, WrittenFile]) -> str:
    """The text of croissant.json. `files` holds those of `DESCRIBED`, by name."""
    value = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        **_about(about_of(facts.config)),
        "description": _description(facts, counts),
        "license": _licenses(counts),
        "keywords": ["video", "reasoning", "chain-of-thought", "webdataset", "proofreel"],
        "isBasedOn": _sources(counts),
        **rai_fields(facts, counts),
        "distribution": [
            *(_file(name, files[name]) for name in DESCRIBED),
            *(_shard(shard) for shard in facts.shards),
            *(one for split in counts.splits for one in _members(split, facts.shards)),
        ],
        "recordSet": [
            _table(INDEX_FILE, INDEX_SCHEMA, key="id"),
            _table(REJECTED_FILE, REJECTED_SCHEMA),
            *(one for split in counts.splits for one in _records(split)),
        ],
    }
    text = json.dumps(
        {name: said for name, said in value.items() if said != []}, indent=1, ensure_ascii=False
    )
    return text + "\n"


def _about(about: AboutSettings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": about.title,
        "url": about.url,
        "version": about.version,
        "datePublished": about.date_published,
        "citeAs": about.citation,
    }
    if about.creator:
        found["creator"] = {"@type": "sc:Organization", "name": about.creator}
    return {name: said for name, said in found.items() if said}


def _description(facts: CardFacts, counts: Counts) -> str:
    held = ", ".join(
        f"{sum(number for (one, _), number in counts.samples.items() if one == split)} {split}"
        for split in counts.splits
    )
    return (
        "Video clips with questions, chains of thought, time spans and verdicts, made by proofreel "
        f"{facts.proofreel_version} (schema {SCHEMA_VERSION}). Samples: {held or 'none'}. In a "
        "shard, ID.json and ID.mp4 are a sample; the columns of the JSON stand in README.md."
    )


def _licenses(counts: Counts) -> list[str]:
    """Of all sources; the address of its text where the licence is a known one."""
    return [_license(one.strip()) for one in sorted(counts.licenses)]


def _license(name: str) -> str:
    if not name:
        return NOT_STATED
    known = re.sub(r"[\s_]+", "-", name.lower())
    if known in HUB_LICENSES and re.fullmatch(r"cc0?-.*\d", known):
        return f"https://spdx.org/licenses/{known.upper()}"
    if known in _SPDX:
        return f"https://spdx.org/licenses/{_SPDX[known]}"
    return name


def _sources(counts: Counts) -> list[dict[str, str]]:
    return [
        {
            "@type": "sc:CreativeWork",
            "name": source,
            **({"url": source} if re.match(r"https?://", source) else {}),
            **({} if name == NOT_STATED else {"license": _license(name)}),
        }
        for (source, name), _ in counts.sources.largest
    ]


def _file(name: str, written: WrittenFile) -> dict[str, str]:
    encoding, description = DESCRIBED[name]
    return _file_object(name, encoding, written.sha256, written.bytes, description)


def _shard(shard: ShardEntry) -> dict[str, str]:
    description = f"{shard.samples} samples"
    return _file_object(shard.path, "application/x-tar", shard.sha256, shard.bytes, description)


def _file_object(
    path: str, encoding: str, sha256: str, size_bytes: int, description: str
) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "description": description,
        "contentUrl": path,
        "contentSize": f"{size_bytes} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _members(split: Split, shards: Sequence[ShardEntry]) -> list[dict[str, Any]]:
    """The two kinds of files inside the shards of a split."""
    inside = [{"@id": shard.path} for shard in shards if shard.path.startswith(f"{split}/")]
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"{split}-{suffix}-files",
            "name": f"{split}-{suffix}-files",
            "containedIn": inside,
            "encodingFormat": encoding,
            "includes": f"*.{suffix}",
        }
        for suffix, encoding in (("json", "application/json"), ("mp4", "video/mp4"))
    ]


def _records(split: Split) -> list[dict[str, Any]]:
    """The samples of a split, and their clips: two sets, since readers join in memory."""
    return [
        _member_records(split, f"{split}-json-files", "json", "sc:Text", MEANINGS[split]),
        _member_records(
            f"{split}-clips", f"{split}-mp4-files", "mp4", "sc:VideoObject",
            f"The clip of each sample of {split}",
        ),
    ]  # fmt: skip


def _member_records(
    name: str, file_set: str, suffix: str, data_type: str, description: str
) -> dict[str, Any]:
    def field(field_name: str, kind: str, of: str, **more: Any) -> dict[str, Any]:
        source = {"fileSet": {"@id": file_set}, "extract": {"fileProperty": of}, **more}
        return _field(name, field_name, kind, "", source)

    key = {"transform": {"regex": rf"^(.+)\.{suffix}$"}}
    fields = [field("id", "sc:Text", "filename", **key), field(suffix, data_type, "content")]
    return _record_set(name, description, fields, key="id")


def _table(file: str, schema: pa.Schema, key: str = "") -> dict[str, Any]:
    name = file.partition(".")[0]
    fields = [
        _field(
            name,
            column.name,
            *_data_type(column.type),
            {"fileObject": {"@id": file}, "extract": {"column": column.name}},
        )
        for column in schema
    ]
    return _record_set(name, DESCRIBED[file][1], fields, key)


def _record_set(
    name: str, description: str, fields: list[dict[str, Any]], key: str
) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        **({"key": {"@id": f"{name}/{key}"}} if key else {}),
        "field": fields,
    }


def _field(
    record_set: str, name: str, data_type: str, shape: str, source: dict[str, Any]
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "dataType": data_type,
        **({"isArray": True, "arrayShape": shape} if shape else {}),
        "source": source,
    }


_DATA_TYPES = {pa.string(): "sc:Text", pa.float64(): "cr:Float64", pa.int64(): "cr:Int64"}
_SPANS = pa.list_(pa.list_(pa.float64()))


def _data_type(kind: pa.DataType) -> tuple[str, str]:
    """(data type, shape of the array or "")."""
    return ("cr:Float64", "-1,2") if kind == _SPANS else (_DATA_TYPES[kind], "")

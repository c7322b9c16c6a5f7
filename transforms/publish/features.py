"""The column types of a sample, in the YAML that Hugging Face `datasets` reads from a card, and in
Arrow.

With them `load_dataset` need not guess types from the first five samples.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from schemas.base import Record
from schemas.sample import Sample

_DTYPES: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "float64"}


def dataset_features() -> list[dict[str, Any]]:
    """Features of a shard entry: key, origin, the sample, the video.

    The form is that of `datasets.Features._to_yaml_list()`, a test compares them; `datasets`
    itself is not needed for it.
    """
    return [
        {"name": "json", **_feature(Sample)},
        {"name": "mp4", "dtype": "video"},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]


def sample_features() -> list[dict[str, Any]]:
    """Features of the sample alone, a column for each of its fields."""
    return [
        {"name": name, **_feature(field.annotation)} for name, field in Sample.model_fields.items()
    ]


def arrow_schema(features: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """The Arrow schema of such features, none of whose values may be null."""
    return pa.schema(_arrow_fields(features))


def _arrow_fields(features: Iterable[Mapping[str, Any]]) -> list[pa.Field]:
    return [pa.field(one["name"], _arrow_type(one), nullable=False) for one in features]


def _arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    if "struct" in feature:
        return pa.struct(_arrow_fields(feature["struct"]))
    if "list" in feature:
        return pa.list_(_arrow_type(_long(feature["list"])))
    return pa.type_for_alias(feature["dtype"])


def _feature(kind: Any) -> dict[str, Any]:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return _feature(type(typing.get_args(kind)[0]))
    if origin in (list, tuple):
        return {"list": _shortened(_feature(_item(kind)))}
    if isinstance(kind, type) and issubclass(kind, Record):
        fields = kind.model_fields.items()
        return {"struct": [{"name": name, **_feature(field.annotation)} for name, field in fields]}
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return {"dtype": "string"}
    if kind in _DTYPES:
        return {"dtype": _DTYPES[kind]}
    raise TypeError(f"no column type for {kind!r}; the published form holds none of these")


def _item(kind: Any) -> Any:
    """What a list holds; a tuple of fixed length must hold one type."""
    items = {one for one in typing.get_args(kind) if not isinstance(one, types.EllipsisType)}
    if len(items) != 1:
        raise TypeError(f"{kind!r} holds several types; a column can't")
    return items.pop()


def _long(item: Any) -> Mapping[str, Any]:
    """What `_shortened` wrote short."""
    if isinstance(item, str):
        return {"dtype": item}
    return {"struct": item} if isinstance(item, list) else dict(item)


def _shortened(feature: dict[str, Any]) -> Any:
    """A list of a plain type or of a struct is written without a level of its own."""
    if list(feature) == ["dtype"]:
        return feature["dtype"]
    return feature["struct"] if list(feature) == ["struct"] else feature

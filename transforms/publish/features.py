"""The column types of a sample, in the YAML that Hugging Face `datasets` reads from a card.

With them `load_dataset` need not guess types from the first five samples.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

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


def _shortened(feature: dict[str, Any]) -> Any:
    """A list of a plain type or of a struct is written without a level of its own."""
    if list(feature) == ["dtype"]:
        return feature["dtype"]
    return feature["struct"] if list(feature) == ["struct"] else feature

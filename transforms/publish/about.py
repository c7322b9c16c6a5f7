"""What only its publisher knows of a dataset: its name, who stands behind it, where, since when.

All of it is said in the configuration, none of it is read from a clock or a machine: a dataset made
again is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

TITLE = "Video reasoning data made with proofreel"


class AboutSettings(BaseModel):
    """`publish.about` of the configuration; what is empty is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(TITLE, min_length=1, description="name of the dataset")
    creator: str = Field("", description="the organization that publishes it")
    url: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="address of the page where it is published"
    )
    date_published: str = Field("", description="day on which it is published, such as 2026-11-29")
    version: str = Field(
        "", pattern=r"^(\d+\.\d+\.\d+)?$", description="version of the dataset, such as 1.0.0"
    )
    citation: str = Field("", description="how to cite it, best as BibTeX")

    @field_validator("date_published", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        # YAML takes a day for a date.
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("date_published")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        if value and date.fromisoformat(value).isoformat() != value:
            raise ValueError("write the day as YYYY-MM-DD")
        return value


def about_of(config: Mapping[str, Any]) -> AboutSettings:
    """What a resolved configuration says of the dataset; the defaults where it says nothing."""
    publish = config.get("publish")
    about = publish.get("about") if isinstance(publish, Mapping) else None
    return AboutSettings.model_validate(about or {})

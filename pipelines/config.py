"""The configuration: one YAML file, a typed schema, `--set` on top, errors that name the field."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.annotate.constructed import ConstructedSettings
from transforms.annotate.describe import DescribeSettings
from transforms.annotate.tasks import TaskSettings
from transforms.annotate.teacher import TeacherKind, TeacherSettings
from transforms.failure_limit import RunSettings
from transforms.features.embed import RANDOM, FeatureSettings
from transforms.features.select import SelectSettings
from transforms.publish.routing import PublishSettings
from transforms.retry import RetrySettings
from transforms.verify.checks import VerifySettings
from transforms.verify.conditions import no_tools
from transforms.video.analyse import InputSettings
from transforms.video.cut import CutSettings
from transforms.video.overlay_text import TextSettings
from transforms.video.shots import Join, ShotSettings
from transforms.video.subtitles import SubtitleSettings
from transforms.video.whisper import SpeechSettings


class Config(BaseModel):
    """The whole configuration. Each section is the settings of one room of `transforms`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, description="seed of all choices: options, splits, mixes, samples")
    input: InputSettings = Field(default_factory=InputSettings)
    shots: ShotSettings = Field(default_factory=ShotSettings)
    overlay_text: TextSettings = Field(default_factory=TextSettings)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    select: SelectSettings = Field(default_factory=SelectSettings)
    cut: CutSettings = Field(default_factory=CutSettings)
    describe: DescribeSettings = Field(default_factory=DescribeSettings)
    subtitles: SubtitleSettings = Field(default_factory=SubtitleSettings)
    speech: SpeechSettings = Field(default_factory=SpeechSettings)
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    constructed: ConstructedSettings = Field(default_factory=ConstructedSettings)
    teacher: TeacherSettings = Field(default_factory=TeacherSettings)
    verify: VerifySettings = Field(default_factory=VerifySettings)
    verifier: TeacherSettings | None = Field(
        None,
        description="the model that the verifier asks, if it shall be another than the teacher; "
        "its fields are those of `teacher`, with the same defaults (`samples` and `tool_calls` are "
        "not used). Set `kind` and `model`, as in `--set verifier.kind=openai`; null = the teacher "
        "itself.",
    )
    publish: PublishSettings = Field(default_factory=PublishSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    run: RunSettings = Field(default_factory=RunSettings)

    @property
    def examiner(self) -> TeacherSettings | None:
        """Whom the verifier asks; None where it asks nobody: the measure teacher only knows its own
        questions, and those are measured anew."""
        settings = self.verify
        asks = bool(settings.conditions or settings.claims or settings.conclusions)
        model = self.verifier or self.teacher
        if not asks or model.kind is TeacherKind.MEASURE:
            return None
        return no_tools(model)

    def with_full_paths(self) -> Config:
        """As workers get it, who may have another working folder: local files with weights and
        models are named by their full paths.

        Not what is stored with the dataset. What is made by such a file is known by its content,
        so that keys in the memo store stay as they are.
        """
        weights, model = Path(self.features.pretrained), Path(self.speech.model)
        features, speech = self.features, self.speech
        if features.pretrained != RANDOM and weights.is_file():
            features = features.model_copy(update={"pretrained": str(weights.absolute())})
        if speech.model and model.is_dir():
            speech = speech.model_copy(update={"model": str(model.absolute())})
        return self.model_copy(update={"features": features, "speech": speech})

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as it is stored with the dataset.

        The addresses of servers are left out: they do not change what the model says, and may hold
        names or passwords that are nobody's business. Mappings of names of the user's choice are
        sorted: the same configuration read back from where it is stored looks the same.
        """
        values = {
            name: {key: _sorted(inner) for key, inner in section.items()}
            if isinstance(section, dict)
            else section
            for name, section in self.model_dump(mode="json").items()
        }
        values["teacher"]["url"] = ""
        if values["verifier"]:
            values["verifier"]["url"] = ""
        return values


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


PROFILES = "profiles"
"""A section of the file, and no part of the configuration: how runs are launched."""


class ConfigError(Exception):
    """A configuration that can't be taken; each line names a field and what is wrong with it."""


def load_config(file: str | None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file (or the defaults), with `a.b=c` overrides on top.

    Raises ConfigError.
    """
    config = overlaid({}, file, overrides)
    _check_teacher("teacher", config.teacher)
    if config.verifier is not None:
        _check_teacher("verifier", config.verifier)
    if config.shots.join is Join.FEATURES and not config.features.enabled:
        raise ConfigError(
            "shots.join: features compares pictures by a model, and features.model is none; "
            "name a model there, or set shots.join to none"
        )
    if config.select.reference and not config.features.enabled:
        raise ConfigError(
            "select.reference: videos are compared by a model, and features.model is none; name "
            "the model that the reference was made by"
        )
    if config.select.max_text_share < 1.0 and not config.overlay_text.enabled:
        raise ConfigError(
            "select.max_text_share: no text is looked for; set overlay_text.enabled to true"
        )
    return config


def overlaid(base: Mapping[str, Any], file: str | None, overrides: Sequence[str]) -> Config:
    """A configuration with what a file says on top of it, and the overrides on top of that.

    Raises ConfigError. Whether its fields go together is not looked at.
    """
    values = copy.deepcopy(dict(base))
    if file is not None:
        _lay(values, {name: one for name, one in read_file(Path(file)).items() if name != PROFILES})
    for override in overrides:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_in_words(error)) from error


def _lay(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        below = values.get(name)
        if isinstance(below, dict) and isinstance(value, Mapping):
            _lay(below, value)
        else:
            values[name] = value


def read_file(path: Path) -> dict[str, Any]:
    """What a file says, with its profiles. Raises ConfigError if it is no mapping."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: a configuration is a mapping of sections")
    return dict(values)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: write it as section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML") from error
    # An empty value means the empty text, as in teacher.model=
    place, default = values, Config().resolved()
    for part in parts[:-1]:
        # A mapping that only the defaults hold is changed in one place, not replaced.
        default = default.get(part, {})
        default = default if isinstance(default, dict) else {}
        inner = place.get(part)
        if inner is None:
            inner = place[part] = dict(default)
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {part} is no section")
        place = inner
    place[parts[-1]] = "" if value is None else value


def _in_words(error: ValidationError) -> str:
    lines = []
    for one in error.errors(include_url=False):
        field = ".".join(str(part) for part in one["loc"]) or "configuration"
        message = one["msg"]
        if one["type"] == "extra_forbidden":
            message = f"there is no such field{_known(one['loc'])}"
        elif one["type"] != "missing":
            message = f"{message} (got {one['input']!r})"
        lines.append(f"{field}: {message}")
    return "\n".join(lines)


def _known(location: tuple[int | str, ...]) -> str:
    """The fields that there are where an unknown one was named."""
    model: Any = Config
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    return f"; known are {', '.join(model.model_fields)}"


SECRET_WORDS = ("token", "secret", "password", "api_key", "apikey", "authorization")


def _check_teacher(name: str, teacher: TeacherSettings) -> None:
    for section in ("extra_body", "engine_args"):
        for field in getattr(teacher, section):
            # All of the configuration is published; `max_tokens` and the like are no secrets.
            words = field.casefold().replace("tokens", "")
            if any(word in words for word in SECRET_WORDS):
                raise ConfigError(
                    f"{name}.{section}.{field}: a secret would be published with the "
                    f"configuration; use an environment variable ({name}.api_key_env, HF_TOKEN)"
                )
    if teacher.kind is TeacherKind.OPENAI and not (teacher.urls and all(teacher.urls)):
        raise ConfigError(f"{name}.url: needed with {name}.kind openai, such as http://host/v1")
    if teacher.kind is not TeacherKind.MEASURE and not teacher.model:
        raise ConfigError(f"{name}.model: needed with {name}.kind {teacher.kind}")


def reference() -> str:
    """The table of all fields with defaults and meanings, as Markdown (docs/configuration.md)."""
    lines: list[str] = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [f"## {name}", "", *_table(section), ""]
        else:
            default = "null" if field.default is None else field.default
            lines += [f"## {name}", "", f"Default `{default}`. {field.description}", ""]
    return "\n".join(lines)


def _table(section: type[BaseModel], prefix: str = "") -> list[str]:
    rows = [] if prefix else ["| field | default | meaning |", "|---|---|---|"]
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            rows += _table(inner, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        # The first line: after it YAML may put an end mark.
        shown = yaml.safe_dump(_plain(default), default_flow_style=True, width=1_000).split("\n")[0]
        rows.append(f"| `{prefix}{name}` | `{shown}` | {field.description} |")
    return rows


def _plain(value: Any) -> Any:
    """A default as YAML knows it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value


PAGE_INTRODUCTION = """\
# Configuration

One YAML file with these sections, given as `--config FILE`; any field can be set with
`--set section.field=value`. Unknown fields are errors. The reasons for the thresholds are in
[thresholds](thresholds.md).

The file may also have a section `profiles`: names for where and how `proofreel run` is launched,
chosen by `--profile NAME`. See [where it runs](runners.md#profiles). It is no part of the
configuration, and not stored with the dataset.
"""

if __name__ == "__main__":
    print(PAGE_INTRODUCTION)
    print(reference(), end="")

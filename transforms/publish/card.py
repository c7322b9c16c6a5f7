"""README.md of a dataset: the card that people read and the hub's YAML that machines read."""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field

from schemas.base import SCHEMA_VERSION, Record
from schemas.rejection import Stage
from schemas.sample import Split
from transforms.publish.card_counts import Counts
from transforms.publish.features import dataset_features
from transforms.publish.manifest import Derived, FunnelStage, ShardEntry
from transforms.publish.planning import PARTITIONS
from transforms.verify.checks import OF_ASKING

TEMPLATE = "card.md.j2"

HUB_LICENSES = frozenset(
    {"apache-2.0", "mit", "cc", "cc0-1.0", "odbl", "odc-by", "pddl", "unlicense", "gpl-3.0"}
    | {"cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"}
    | {"cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"}
    | {"cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"}
    | {"cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"}
    | {"cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0"}
)
"""Identifiers that the hub takes; anything else is `other`, or `unknown` when nothing was said."""

MEANINGS: dict[Split, str] = {
    "sft": "the best accepted reasoning for a task",
    "rl": "a task whose answer a function can grade",
    "preference": "an accepted reply against one rejected for what it says, of like length",
    "process": "one reply, right or wrong, with the steps that the clip bears out or refutes",
    "online": "a question with the moment of the clip from which on it can be answered",
}
"""What a sample of each split is."""

LIMITS = (
    "A check proves what it measures, nothing more: read the checks of a sample before relying on "
    "it.",
    "Videos of the same scene from different files may stand on both sides of train and validation "
    "where they differ more than the near-duplicate threshold.",
    "No face, voice or name was removed; the sources decide what personal data the clips hold.",
    "Licences are as the input stated them; they were not verified.",
)
"""What holds of every dataset."""

DECIDING = ("input", "shots", "select", "verify")
"""Sections of the configuration whose settings turn things down."""

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
_LARGEST_SIZE = "n>1M"


class CardFacts(Record):
    """All that the card says, apart from the samples' own counts."""

    title: str
    proofreel_version: str
    config: dict[str, Any]
    versions: dict[str, str]
    shards: tuple[ShardEntry, ...]
    funnel: tuple[FunnelStage, ...]
    prompts: dict[str, str] = Field(default_factory=dict)
    """Text of each prompt template, by its name."""
    notes: tuple[str, ...] = ()
    derived: Derived | None = None
    differing: tuple[tuple[str, str], ...] = ()
    """Settings on which the parents of a derived dataset don't agree, with their values."""


def template_hashes(prompts: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, SHA-256 of the text) of each prompt template."""
    hashed = {one: hashlib.sha256(text.encode()).hexdigest() for one, text in prompts.items()}
    return sorted(hashed.items())


def render_card(facts: CardFacts, counts: Counts) -> str:
    """The text of README.md."""
    splits = counts.splits
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        # Every value is made harmless where it is printed, unless it is Markup already.
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        front_matter=Markup(to_yaml(_front_matter(facts, counts, splits))),  # noqa: S704 - YAML
        schema_version=SCHEMA_VERSION,
        partitions=PARTITIONS,
        samples=counts.samples,
        truncated=counts.truncated,
        constructed=counts.unchecked,
        total=counts.total,
        checks=sorted(counts.checks.items()),
        captioned=counts.captioned,
        asked_again=counts.asked_again,
        was_asked=was_asked(facts, counts),
        splits=splits,
        meanings=MEANINGS,
        minutes={split: counts.minutes(split) for split in splits},
        kinds=sorted(counts.kinds.items()),
        letters=letter_shares(counts),
        licenses=_license_rows(counts),
        sources=counts.sources.largest,
        more_sources=counts.sources.number - len(counts.sources.largest),
        teachers=sorted(counts.teachers.items()),
        verifiers=sorted(counts.verifiers.items()),
        prompts=counts.prompts,
        templates=template_hashes(facts.prompts),
        limits=[Markup(one) for one in LIMITS],  # noqa: S704 - our own words
        thresholds=deciding_rows(facts, counts, DECIDING),
        fenced=fenced,
        config_yaml=to_yaml(facts.config),
    )


def letter_shares(counts: Counts) -> list[tuple[str, str, int, float]]:
    """(split, letter, how often it is the right one, percent of the split's) of choices."""
    letters = counts.letters
    totals: Counter[str] = Counter()
    for (split, _), count in letters.items():
        totals[split] += count
    return [
        (split, letter, count, 100 * count / totals[split])
        for (split, letter), count in sorted(letters.items())
    ]


def _license_rows(counts: Counts) -> list[tuple[str, int, int]]:
    """(licence, sources, samples)."""
    sources = counts.sources
    return [
        (name, number, sources.samples_by_license[name])
        for name, number in sorted(sources.by_license.items())
    ]


def settings_rows(config: Mapping[str, Any], sections: Sequence[str]) -> list[tuple[str, Any]]:
    """(dotted name, value) of all settings of some sections."""
    rows: list[tuple[str, Any]] = []

    def walk(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name in sorted(value):
                walk(f"{path}.{name}", value[name])
        else:
            rows.append((path, value))

    for section in sections:
        walk(section, config.get(section, {}))
    return rows


def was_asked(facts: CardFacts, counts: Counts) -> bool:
    """Whether any rollout was examined by asking a model, be it in the dataset or turned down."""
    examined = any(line.in_ for line in facts.funnel if line.stage is Stage.EXAMINE)
    return examined or counts.asked_again > 0


def deciding_rows(
    facts: CardFacts, counts: Counts, sections: Sequence[str]
) -> list[tuple[str, Any]]:
    """As `settings_rows`, without what has no effect where no model was asked."""
    rows = settings_rows(facts.config, sections)
    if was_asked(facts, counts):
        return rows
    return [row for row in rows if row[0].removeprefix("verify.") not in OF_ASKING]


def _front_matter(facts: CardFacts, counts: Counts, splits: Sequence[Split]) -> dict[str, Any]:
    total = counts.total
    # Without the entry `default`, load_dataset(DIR) with no name would refuse several configs.
    configs: list[dict[str, Any]] = [
        {
            "config_name": split,
            "data_files": [
                {"split": partition, "path": f"{split}/{partition}-*.tar"}
                for partition in PARTITIONS
                if counts.samples[split, partition]
            ],
            **({"default": True} if split == splits[0] else {}),
        }
        for split in splits
    ]
    features = dataset_features()
    return {
        "pretty_name": " ".join(facts.title.split()),
        **_license(counts.licenses),
        "task_categories": ["video-text-to-text", "visual-question-answering"],
        "tags": ["video", "reasoning", "chain-of-thought", "webdataset", "proofreel"],
        "size_categories": [next((name for top, name in _SIZES if total < top), _LARGEST_SIZE)],
        **({"configs": configs} if configs else {}),
        **(
            {"dataset_info": [{"config_name": one, "features": features} for one in splits]}
            if splits
            else {}
        ),
    }


def _license(licenses: Counter[str]) -> dict[str, Any]:
    """The hub's one licence field, only as far as all sources agree on it."""
    names = {re.sub(r"[\s_]+", "-", one.lower()) for one in licenses}
    if names <= {""}:
        return {"license": "unknown"}
    only = next(iter(names)) if len(names) == 1 else ""
    return {"license": only if only in HUB_LICENSES else "other"}


class _Plain(yaml.SafeDumper):
    """Writes repeated parts out instead of pointing at them: the hub's reader is simple."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(value: Any) -> str:
    """YAML in the order given, on long lines, without a newline at its end."""
    text = yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text).rstrip("\n")


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$^=-])")


def escaped(value: Any) -> Markup:
    """A value as text on one line that neither Markdown nor HTML reads anything into."""
    if isinstance(value, Markup):
        return value
    # An address must not become a link by itself, hence no bare colon after a scheme either.
    line = " ".join(str(value).split())
    line = html.escape(_MARKDOWN.sub(r"\\\1", line)).replace("://", "&#58;//")
    return Markup(line)  # noqa: S704 - escaped right here


def fenced(text: str, language: str = "") -> Markup:
    """A text as a block of code; the fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text.rstrip()}\n{fence}")  # noqa: S704 - code is verbatim

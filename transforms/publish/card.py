"""README.md of a dataset: the card that people read and the hub's YAML that machines read."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field

from schemas.base import SCHEMA_VERSION, Record
from schemas.conditions import Conditions
from schemas.rejection import Stage
from schemas.sample import SPLITS, Sample, Split
from schemas.task import ONE_CHOICE_KINDS, OPTION_LETTERS, TaskKind
from transforms.publish.features import dataset_features
from transforms.publish.manifest import Derived, FunnelStage, ShardEntry, is_local_path
from transforms.publish.planning import PARTITIONS, Partition
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

NOT_STATED = "not stated"
MAX_SOURCES = 1000
"""Sources that card and croissant.json name one by one; each sample names its own."""

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
_LARGEST_SIZE = "n>1M"


class CardEntry(Record):
    """What the card counts of one sample."""

    split: Split
    partition: Partition
    kind: TaskKind
    letter: str
    """Letter of the right option; empty where there is none."""
    license: str
    source_url: str
    source_uri: str
    source_truncated: bool
    teacher: str
    verifier: str
    unchecked: bool
    """Whether it is exact by construction, so that no rollout had to be checked."""
    prompt_sha256: str
    duration_s: float
    has_audio: bool
    has_lines: bool
    """Whether it holds what is spoken, as text."""
    asked_again: bool
    """Whether a model was asked again under changed evidence."""
    has_captions: bool
    checks: tuple[str, ...]
    """Names of the checks that it carries."""


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


def card_entry(sample: Sample, partition: Partition) -> CardEntry:
    """What the card counts of a sample."""
    media = sample.media[0]
    answer, extra = sample.answer, json.loads(sample.extra_json)
    lettered = answer.kind in ONE_CHOICE_KINDS and 0 <= answer.option_index < len(OPTION_LETTERS)
    return CardEntry(
        split=sample.split,
        partition=partition,
        kind=answer.kind,
        letter=OPTION_LETTERS[answer.option_index] if lettered else "",
        license=sample.provenance.license,
        source_url=sample.provenance.source_url,
        source_uri=media.source_uri,
        source_truncated=bool(media.source_truncated),
        teacher=f"{sample.provenance.teacher} {sample.provenance.teacher_revision}".strip(),
        verifier=sample.provenance.verifier,
        unchecked=not sample.verdict.checks,
        prompt_sha256=sample.provenance.prompt_sha256,
        duration_s=media.duration_s,
        has_audio=media.has_audio,
        has_lines="lines" in extra,
        asked_again=bool(Conditions.from_json(sample.verdict.conditions_json).model),
        has_captions="captions" in extra,
        checks=tuple(sorted({check.name for check in sample.verdict.checks})),
    )


@dataclass
class Counts:
    """What the samples are, counted; the same for any order of them."""

    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    prompt_hashes: Counter[str] = field(default_factory=Counter)
    durations_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    truncated: int = 0
    unchecked: int = 0
    with_sound: int = 0
    with_lines: int = 0
    asked_again: int = 0
    captioned: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    """By name of a check: the samples that carry it."""

    def add(self, entry: CardEntry) -> None:
        license_name = entry.license or NOT_STATED
        self.samples[entry.split, entry.partition] += 1
        self.kinds[entry.split, entry.kind.value] += 1
        if entry.letter:
            self.letters[entry.split, entry.letter] += 1
        self.licenses[entry.license.strip()] += 1
        # A path on the machine that made the dataset means nothing to its readers.
        uri = entry.source_uri
        source = entry.source_url or (PurePath(uri).name if is_local_path(uri) else uri)
        self.sources[source, license_name] += 1
        self.teachers[entry.teacher] += 1
        self.verifiers[entry.verifier] += 1
        self.prompt_hashes[entry.prompt_sha256] += 1
        self.truncated += entry.source_truncated
        self.unchecked += entry.unchecked
        self.with_sound += entry.has_audio
        self.with_lines += entry.has_lines
        self.asked_again += entry.asked_again
        self.captioned += entry.has_captions
        self.checks.update(entry.checks)
        self.durations_s[entry.split].append(entry.duration_s)

    @property
    def total(self) -> int:
        return sum(self.samples.values())

    @property
    def splits(self) -> list[Split]:
        """Those with samples, in order."""
        filled = {split for (split, _), count in self.samples.items() if count}
        return [split for split in SPLITS if split in filled]

    def minutes(self, split: Split) -> float:
        # Summed in sorted order: floating point sums depend on it.
        return sum(sorted(self.durations_s[split])) / 60

    @property
    def prompts(self) -> int:
        """How many different prompts the samples come from."""
        return len([one for one in self.prompt_hashes if one])


def count(entries: Iterable[CardEntry]) -> Counts:
    counts = Counts()
    for entry in entries:
        counts.add(entry)
    return counts


def largest_sources(counts: Counts) -> list[tuple[tuple[str, str], int]]:
    """((source, licence), samples) of the sources with the most samples, at most MAX_SOURCES, in
    the order of their names."""
    ranked = sorted(counts.sources.items(), key=lambda row: (-row[1], row[0]))
    return sorted(ranked[:MAX_SOURCES])


def template_hashes(prompts: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, SHA-256 of the text) of each prompt template."""
    hashed = {one: hashlib.sha256(text.encode()).hexdigest() for one, text in prompts.items()}
    return sorted(hashed.items())


def render_card(facts: CardFacts, entries: Iterable[CardEntry]) -> str:
    """The text of README.md; the same for any order of the entries."""
    counts = count(entries)
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
        sources=largest_sources(counts),
        more_sources=len(counts.sources) - len(largest_sources(counts)),
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
    sources = Counter(name for _, name in counts.sources)
    samples: Counter[str] = Counter()
    for (_, name), number in counts.sources.items():
        samples[name] += number
    return [(name, sources[name], samples[name]) for name in sorted(sources)]


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

"""What the samples of a dataset are, counted: for the card, and without a list of all of them."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import PurePath

from schemas.base import Record
from schemas.conditions import Conditions
from schemas.sample import SPLITS, Sample, Split
from schemas.task import ONE_CHOICE_KINDS, OPTION_LETTERS, TaskKind
from transforms.publish.manifest import is_local_path
from transforms.publish.planning import Partition

NOT_STATED = "not stated"
MAX_SOURCES = 1000
"""Sources that card and croissant.json name one by one; each sample names its own."""

SourceKey = tuple[str, str]
"""(source, licence) as the card shows them."""


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
class Sources:
    """The sources of a dataset, of which only the largest are held one by one.

    Made of counts that are whole: each source comes once.
    """

    ranked: list[tuple[int, SourceKey]] = field(default_factory=list)
    """(minus samples, source) of at most MAX_SOURCES, those with the most samples."""
    by_license: Counter[str] = field(default_factory=Counter)
    """Sources of each licence."""
    samples_by_license: Counter[str] = field(default_factory=Counter)

    def add(self, source: SourceKey, samples: int) -> None:
        self.by_license[source[1]] += 1
        self.samples_by_license[source[1]] += samples
        self.ranked.append((-samples, source))
        if len(self.ranked) >= 2 * MAX_SOURCES:
            self.ranked = heapq.nsmallest(MAX_SOURCES, self.ranked)

    def merge(self, other: Sources) -> None:
        """Take in the counts of other sources."""
        self.by_license.update(other.by_license)
        self.samples_by_license.update(other.samples_by_license)
        self.ranked = heapq.nsmallest(MAX_SOURCES, [*self.ranked, *other.ranked])

    @property
    def number(self) -> int:
        return sum(self.by_license.values())

    @property
    def most_samples(self) -> int:
        """Of one source; 0 without any."""
        return -min(self.ranked)[0] if self.ranked else 0

    @property
    def largest(self) -> list[tuple[SourceKey, int]]:
        """Sources with their samples, those with the most, in the order of their names."""
        ranked = heapq.nsmallest(MAX_SOURCES, self.ranked)
        return sorted((source, -samples) for samples, source in ranked)


@dataclass
class Counts:
    """What the samples are, counted; the same for any order of them.

    It holds a number for each licence, teacher and verifier, but none for each source or prompt.
    """

    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    """By name of a check: the samples that carry it."""
    truncated: int = 0
    unchecked: int = 0
    with_sound: int = 0
    with_lines: int = 0
    asked_again: int = 0
    captioned: int = 0
    durations_s: dict[str, Fraction] = field(default_factory=dict)
    """By split. Exact, since sums of floating point numbers depend on the order."""
    sources: Sources = field(default_factory=Sources)
    """Not counted by `add`, which would have to know all of them."""
    prompts: int = 0
    """How many different prompts the samples come from; not counted by `add`, either."""

    def add(self, entry: CardEntry) -> None:
        """Count a sample in."""
        self.samples[entry.split, entry.partition] += 1
        self.kinds[entry.split, entry.kind.value] += 1
        if entry.letter:
            self.letters[entry.split, entry.letter] += 1
        self.licenses[entry.license.strip()] += 1
        self.teachers[entry.teacher] += 1
        self.verifiers[entry.verifier] += 1
        self.checks.update(entry.checks)
        self.truncated += entry.source_truncated
        self.unchecked += entry.unchecked
        self.with_sound += entry.has_audio
        self.with_lines += entry.has_lines
        self.asked_again += entry.asked_again
        self.captioned += entry.has_captions
        self._add_duration(entry.split, Fraction(entry.duration_s))

    def merge(self, other: Counts) -> None:
        """Take in the counts of other samples, apart from sources and prompts."""
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for split, duration_s in other.durations_s.items():
            self._add_duration(split, duration_s)

    def _add_duration(self, split: str, duration_s: Fraction) -> None:
        self.durations_s[split] = self.durations_s.get(split, Fraction()) + duration_s

    @property
    def total(self) -> int:
        return sum(self.samples.values())

    @property
    def splits(self) -> list[Split]:
        """Those with samples, in order."""
        filled = {split for (split, _), count in self.samples.items() if count}
        return [split for split in SPLITS if split in filled]

    def minutes(self, split: Split) -> float:
        return float(self.durations_s.get(split, Fraction()) / 60)


_COUNTERS = ("samples", "kinds", "letters", "licenses", "teachers", "verifiers", "checks")
_NUMBERS = ("truncated", "unchecked", "with_sound", "with_lines", "asked_again", "captioned")


def source_key(entry: CardEntry) -> SourceKey:
    """The source of a sample, as it is counted."""
    # A path on the machine that made the dataset means nothing to its readers.
    uri = entry.source_uri
    source = entry.source_url or (PurePath(uri).name if is_local_path(uri) else uri)
    return source, entry.license or NOT_STATED


def count(entries: Iterable[CardEntry]) -> Counts:
    """All of it at once, for samples that are in memory anyway."""
    counts = Counts()
    sources: Counter[SourceKey] = Counter()
    prompts: set[str] = set()
    for entry in entries:
        counts.add(entry)
        sources[source_key(entry)] += 1
        prompts.add(entry.prompt_sha256)
    found = Sources()
    for source, samples in sources.items():
        found.add(source, samples)
    return replace(counts, sources=found, prompts=len(prompts - {""}))

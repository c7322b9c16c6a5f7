"""How a dataset was made and what is wrong with it, in Croissant's words for responsible use of AI.

All of it is counted or read from the run's own facts: what was not counted is not said. The terms
are those of http://mlcommons.org/croissant/RAI/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.rejection import Stage
from transforms.publish.card import (
    LIMITS,
    MEANINGS,
    CardFacts,
    deciding_rows,
    letter_shares,
    template_hashes,
)
from transforms.publish.card_counts import Counts

ANNOTATING = (Stage.DESCRIBE, Stage.PROPOSE, Stage.CONSTRUCT, Stage.TASK, Stage.ANSWER,
              Stage.VERIFY, Stage.EXAMINE, Stage.ROUTE)  # fmt: skip
"""Stages that make and judge annotations; those before prepare the clips."""


def rai_fields(facts: CardFacts, counts: Counts) -> dict[str, list[str] | str]:
    """Property -> what holds of this dataset; a property with nothing to say is left out."""
    found: dict[str, list[str] | str] = {
        "rai:dataCollection": _collection(counts),
        "rai:dataUseCases": [f"{split}: {MEANINGS[split]}" for split in counts.splits],
        "rai:machineAnnotationTools": _tools(facts, counts),
        "rai:dataAnnotationProtocol": _annotation(facts, counts),
        "rai:dataPreprocessingProtocol": _preprocessing(facts, counts),
        "rai:dataBiases": _biases(facts, counts),
        "rai:dataLimitations": _limitations(facts, counts),
        "rai:personalSensitiveInformation": _personal(facts, counts),
    }
    return {name: said for name, said in found.items() if said}


def _collection(counts: Counts) -> str:
    if not counts.total:
        return ""
    return (
        f"The samples show clips cut from {_number(counts.sources.number, 'source')} (told apart "
        "by address or file name) that the maker of the dataset gave as input; proofreel itself "
        f"collects no videos. For {counts.licenses['']} of {_number(counts.total, 'sample')} no "
        "licence was stated."
    )


def _tools(facts: CardFacts, counts: Counts) -> list[str]:
    models = [
        f"{role}: {name or 'not stated'} ({_number(number, 'sample')})"
        for role, named in (("teacher", counts.teachers), ("verifier", counts.verifiers))
        for name, number in sorted(named.items())
    ]
    software = {**facts.versions, "proofreel": facts.proofreel_version}
    return models + [f"{name} {version}" for name, version in sorted(software.items())]


def _annotation(facts: CardFacts, counts: Counts) -> list[str]:
    templates = template_hashes(facts.prompts)
    said = [f"Prompt template {name}, SHA-256 {sha256}" for name, sha256 in templates]
    if counts.prompts:
        said.append(
            f"The samples come from {_number(counts.prompts, 'different prompt')}; each names its "
            "own in provenance.prompt_sha256."
        )
    if not said:
        said.append("No prompts were used.")
    if counts.unchecked:
        said.append(
            f"{_number(counts.unchecked, 'sample')} carry no checks: their clips were altered so "
            "that the answer is exact."
        )
    said.append(
        f"For {counts.asked_again} of {_number(counts.total, 'sample')} a model was asked again "
        "under changed evidence; verdict.conditions_json says what came back."
    )
    said += _funnel(facts, ANNOTATING)
    return said + _settings(facts, counts, "verify", "Settings of the verifier")


def _preprocessing(facts: CardFacts, counts: Counts) -> list[str]:
    preparing = [stage for stage in Stage if stage not in ANNOTATING]
    said = _funnel(facts, preparing)
    for section, words in (
        ("input", "Which videos are taken"),
        ("shots", "How they are divided into clips"),
        ("select", "Which clips are taken"),
        ("cut", "How clips are encoded"),
    ):
        said += _settings(facts, counts, section, words)
    return said


def _funnel(facts: CardFacts, stages: Sequence[Stage]) -> list[str]:
    said = []
    for line in facts.funnel:
        if line.stage in stages:
            lost = ", ".join(f"{reason} {count}" for reason, count in sorted(line.rejected.items()))
            said.append(
                f"Stage {line.stage}: {_number(line.in_, line.unit)} in, {line.out} out, rejected: "
                f"{lost or 'none'}"
            )
    return said


def _settings(facts: CardFacts, counts: Counts, section: str, words: str) -> list[str]:
    rows = deciding_rows(facts, counts, (section,))
    named = [f"{name.removeprefix(f'{section}.')} {_shown(value)}" for name, value in rows]
    return [f"{words}: {', '.join(named)}"] if named else []


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(str, value)) + "]"
    return str(value)


def _biases(facts: CardFacts, counts: Counts) -> list[str]:
    said = []
    if counts.sources.number:
        most = counts.sources.most_samples
        said.append(
            f"The source with the most samples gives {most} of {counts.total} "
            f"({100 * most / counts.total:.1f} %)."
        )
    for split in counts.splits:
        here = [(kind, number) for (one, kind), number in counts.kinds.items() if one == split]
        total = sum(number for _, number in here)
        shares = [f"{kind} {100 * number / total:.1f} %" for kind, number in sorted(here)]
        said.append(f"Kinds of questions in {split}: {', '.join(shares)}")
    letters = letter_shares(counts)
    for split in counts.splits:
        shares = [f"{one} {share:.1f} %" for where, one, _, share in letters if where == split]
        total = sum(number for where, _, number, _ in letters if where == split)
        if shares:
            said.append(
                f"Right letters of the {_number(total, 'question')} with options in {split}: "
                f"{', '.join(shares)}"
            )
    turned_down = [line for line in facts.funnel if line.stage is Stage.SELECT and line.rejected]
    if turned_down:
        said.append(
            "Clips that the selection turned down are missing; rejected.parquet lists them."
        )
    return said


def _limitations(facts: CardFacts, counts: Counts) -> list[str]:
    said = [*LIMITS, *facts.notes]
    if counts.truncated:
        said.append(
            f"{_number(counts.truncated, 'sample')} come from videos of which a part is missing."
        )
    return said


def _personal(facts: CardFacts, counts: Counts) -> list[str]:
    return [
        "Whether people can be recognized in picture or sound was not examined, and nothing was "
        "removed; it depends on the source videos.",
        f"{counts.with_sound} of {_number(counts.total, 'sample')} have clips with sound.",
        f"{counts.with_lines} of {_number(counts.total, 'sample')} hold spoken words as text "
        "(subtitles or recognized speech).",
        "Each sample names its source video by address or file name.",
    ]


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"

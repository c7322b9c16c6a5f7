"""The card: YAML that machines read, numbers that are right, users' texts that stay texts."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import pytest
import yaml
from publish_helpers import CONFIG, Item, make_funnel, make_sample

from schemas.rejection import Stage
from transforms.publish.card import CardFacts, escaped, fenced, render_card
from transforms.publish.card_counts import CardEntry, card_entry, count
from transforms.publish.manifest import FunnelStage, funnel_stage
from transforms.verify.checks import OF_ASKING, VerifySettings


def facts(**changes: object) -> CardFacts:
    given: dict[str, object] = {
        "title": "Small",
        "proofreel_version": "0.1.0",
        "config": CONFIG,
        "versions": {},
        "shards": (),
        "funnel": tuple(make_funnel(3)),
    }
    return CardFacts.model_validate({**given, **changes})


def card_of(said: CardFacts, entries: list[CardEntry]) -> str:
    return render_card(said, count(entries))


@pytest.fixture
def entries(items: list[Item]) -> list[CardEntry]:
    return [card_entry(item.sample, item.partition) for item in items]


def front_matter(card: str) -> dict[str, object]:
    return dict(yaml.safe_load(split_card(card)[1]))


def split_card(card: str) -> list[str]:
    return re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)


def test_front_matter(entries: list[CardEntry]) -> None:
    front = front_matter(card_of(facts(), entries))
    assert front["license"] == "cc-by-3.0"
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [
        {
            "config_name": "sft",
            "data_files": [
                {"split": "train", "path": "sft/train-*.tar"},
                {"split": "validation", "path": "sft/validation-*.tar"},
            ],
            "default": True,
        },
        {"config_name": "rl", "data_files": [{"split": "train", "path": "rl/train-*.tar"}]},
        {
            "config_name": "preference",
            "data_files": [{"split": "train", "path": "preference/train-*.tar"}],
        },
        {
            "config_name": "process",
            "data_files": [{"split": "train", "path": "process/train-*.tar"}],
        },
        {"config_name": "online", "data_files": [{"split": "train", "path": "online/train-*.tar"}]},
    ]


def test_counts(entries: list[CardEntry]) -> None:
    card = card_of(facts(notes=("random weights",)), entries)
    assert "| sft | 12 | 1 | 0.4 |" in card
    assert "| select | clip | 6 | 4 | near\\_duplicate 1, too\\_dark 1 |" in card
    assert "| sft | B | 10 | 100.0% |" in card
    assert "| https&#58;//example.org/one | CC\\-BY\\-3.0 | 17 |" in card
    assert "verify.thresholds.answer | 0.5 |" in card
    assert "- random weights\n" in card


def test_same_for_any_order(entries: list[CardEntry]) -> None:
    shuffled = list(entries)
    random.Random(1).shuffle(shuffled)
    assert card_of(facts(), shuffled) == card_of(facts(), entries)


def test_no_samples() -> None:
    card = card_of(facts(), [])
    assert "holds no samples" in card
    assert "configs" not in front_matter(card)
    assert front_matter(card)["license"] == "unknown"


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["CC BY 4.0", "cc-by-4.0"], "cc-by-4.0"),
        (["mit", "cc-by-4.0"], "other"),
        (["mit", ""], "other"),
        (["my own"], "other"),
        ([""], "unknown"),
    ],
)
def test_license(entries: list[CardEntry], licenses: list[str], expected: str) -> None:
    changed = [entries[0].model_copy(update={"license": one}) for one in licenses]
    assert front_matter(card_of(facts(), changed))["license"] == expected


HOSTILE = "<script>alert(1)</script> | x\n# [a](javascript:b) `c` **d** ---\n{{ 7*7 }} {% x %}"


def test_users_texts_stay_texts(entries: list[CardEntry]) -> None:
    changed = entries[0].model_copy(
        update={"source_url": HOSTILE, "license": HOSTILE, "teacher": HOSTILE}
    )
    card = card_of(facts(title=HOSTILE, notes=(HOSTILE,), config={"a": HOSTILE}), [changed])
    body = split_card(card)[2].split("## Configuration")[0]
    assert "<script>" not in body
    assert "[a](" not in body
    assert "\\{\\{ 7\\*7 \\}\\} \\{% x %\\}" in body
    assert "\n# [a]" not in body
    assert front_matter(card)["pretty_name"] == " ".join(HOSTILE.split())


def test_escaped_is_one_line_and_keeps_the_words() -> None:
    assert escaped("a\n\nb|c") == "a b\\|c"
    assert escaped(0.97) == "0.97"


def test_fence_is_longer_than_what_it_holds() -> None:
    assert fenced("x ```` y").splitlines()[0] == "`````"


def test_local_paths_do_not_reach_the_card(items: list[Item]) -> None:
    sample = make_sample("s1", items[0].clip)
    media = sample.media[0].model_copy(update={"source_uri": "/secret/place/a.mp4"})
    provenance = sample.provenance.model_copy(update={"source_url": ""})
    changed = sample.model_copy(update={"media": [media], "provenance": provenance})
    card = card_of(facts(), [card_entry(changed, "train")])
    assert "secret" not in card
    assert "| a.mp4 |" in card


def asking(funnel: tuple[FunnelStage, ...] = ()) -> CardFacts:
    """Facts with settings that only matter where a model is asked."""
    verify = {"claims": True, "samples": 4, "thresholds": {"answer": 1.0, "needs_video": 0.5}}
    return facts(config={"verify": verify}, funnel=funnel)


def test_checks_are_counted_and_no_more_is_claimed(items: list[Item]) -> None:
    entry = card_entry(make_sample("s1", items[0].clip), "train")
    two = [entry.model_copy(update={"checks": names}) for names in (("a", "b"), ("a",))]
    card = card_of(asking(), two)
    assert "Every annotation" not in card
    assert "| a | 2 |\n| b | 1 |\n" in card
    assert "captions" not in card
    captioned = entry.model_copy(update={"has_captions": True})
    assert "1 samples carry captions" in card_of(asking(), [*two, captioned])


def test_an_entry_knows_its_checks_and_captions(items: list[Item]) -> None:
    sample = make_sample("s1", items[0].clip)
    entry = card_entry(sample, "train")
    assert entry.checks == tuple(sorted(one.name for one in sample.verdict.checks)) != ()
    assert not entry.has_captions
    described = sample.model_copy(update={"extra_json": '{"captions":[]}'})
    assert card_entry(described, "train").has_captions


def test_where_no_model_was_asked_its_settings_are_not_told_as_thresholds(
    items: list[Item],
) -> None:
    entry = card_entry(make_sample("s1", items[0].clip), "train")
    asked = entry.model_copy(update={"asked_again": True})
    card = card_of(asking(), [entry]).split("## Configuration")[0]
    assert "No model was asked again" in card
    assert "verify.thresholds.answer |" in card
    assert "verify.samples | 4" in card
    assert "needs\\_video" not in card
    assert "verify.claims" not in card
    # Asked, and all that were asked about turned down: the settings had an effect.
    lines = (funnel_stage(Stage.EXAMINE, 3, 3, {}),)
    for told in (card_of(asking(), [entry, asked]), card_of(asking(lines), [entry])):
        assert "No model was asked again" not in told
        assert "verify.thresholds.needs\\_video | 0.5 |" in told
        assert "verify.claims | True |" in told
    assert "For 1 of 2 samples a model was asked again" in card_of(asking(), [entry, asked])


def test_settings_of_asking_are_settings_of_the_verifier() -> None:
    settings = VerifySettings().model_dump()
    known = {*settings, *(f"thresholds.{name}" for name in settings["thresholds"])}
    assert known > OF_ASKING


def test_samples_of_cut_off_videos_are_counted(items: list[Item]) -> None:
    sample = make_sample("s1", items[0].clip)
    media = sample.media[0].model_copy(update={"source_truncated": "half of it"})
    cut_off = sample.model_copy(update={"media": [media]})
    whole = card_of(facts(), [card_entry(sample, "train")])
    card = card_of(facts(), [card_entry(one, "train") for one in (sample, cut_off)])
    assert "a part is missing" not in whole
    assert "\n\n1 samples come from videos of which a part is missing; `source_truncated`" in card


def test_built_card_has_the_prompts(built: Path) -> None:
    card = (built / "README.md").read_text("utf-8")
    assert "````\nLook at the frames." in card
    sha256 = hashlib.sha256(b"Look at the frames.\n```\nAnswer.\n```").hexdigest()
    assert f"| answer | {sha256} |" in card


def test_prompts_are_counted_not_listed(entries: list[CardEntry]) -> None:
    """There may be as many as there are samples."""
    several = [entries[0].model_copy(update={"prompt_sha256": f"{n % 40:064x}"}) for n in range(90)]
    card = card_of(facts(), several)
    assert "from 40 different prompts; each names its own in\n`provenance.prompt_sha256`" in card
    assert f"{39:064x}" not in card


def test_licenses_are_all_named_and_sources_up_to_a_limit(
    entries: list[CardEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.publish.card_counts.MAX_SOURCES", 2)
    licenses = {"a.mp4": "mit", "b.mp4": "mit", "c.mp4": "", "d.mp4": "cc0-1.0"}
    several = [
        entries[0].model_copy(update={"source_url": name, "license": licenses[name]})
        for name in ("a.mp4", "b.mp4", "b.mp4", "c.mp4", "c.mp4", "d.mp4")
    ]
    card = card_of(facts(), several)
    assert "| cc0\\-1.0 | 1 | 1 |\n| mit | 2 | 3 |\n| not stated | 1 | 2 |" in card
    assert "| b.mp4 | mit | 2 |\n| c.mp4 | not stated | 2 |\n\n2 more sources have fewer" in card

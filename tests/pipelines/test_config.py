"""The configuration: defaults, YAML, overrides, and errors that name the field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pipeline_helpers import FAST, carphone, manifest, run_here

from pipelines.config import Config, ConfigError, load_config, reference
from pipelines.preflight import check_named_models
from schemas.task import TaskKind
from transforms.features.embed import identity
from transforms.video import whisper

KEYS_OF_THE_ISSUE = """
seed: 0
input: {min_duration_s: 1.0, max_duration_s: 14400}
shots: {detector: content, min_clip_s: 2.0, max_clip_s: 30.0, unit: scene}
features: {model: ViT-B-32, pretrained: laion2b_s34b_b79k, fps: 2.0}
select: {near_duplicate_cosine: 0.97}
cut: {mode: exact, crf: 20, max_height_px: 720}
tasks: {per_clip: 4}
teacher: {kind: measure, model: "", url: "", samples: 4, temperature: 1.0}
verify: {samples: 4, repair_rounds: 1}
publish: {shard_bytes: 1000000000, validation_share: 0.02}
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def test_defaults_are_those_of_the_issue() -> None:
    resolved = load_config(None).resolved()
    for section, fields in yaml.safe_load(KEYS_OF_THE_ISSUE).items():
        if not isinstance(fields, dict):
            assert resolved[section] == fields
            continue
        assert {name: resolved[section][name] for name in fields} == fields


def test_a_file_with_the_defaults_changes_nothing(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, KEYS_OF_THE_ISSUE)) == Config()
    assert load_config(written(tmp_path, "")) == Config()
    assert load_config(written(tmp_path, yaml.safe_dump(Config().resolved()))) == Config()


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "cut: {crf: 30, max_height_px: 480}\nseed: 3\n")
    config = load_config(file, ["cut.crf=25", "seed=7", "cut.crf=26", "shots.detector=fixed"])
    assert (config.cut.crf, config.cut.max_height_px, config.seed) == (26, 480, 7)
    assert config.shots.detector == "fixed"
    assert config.publish == Config().publish


def test_values_of_overrides_are_yaml() -> None:
    config = load_config(
        None,
        [
            "teacher.model=",
            "teacher.engine_args={tensor_parallel_size: 2}",
            "tasks.mix={mcq: 1}",
            "verify.thresholds.answer_iou=0.5",
            "publish.shard_bytes=2000000",
            "teacher.revision='007'",
        ],
    )
    assert config.teacher.model == ""
    assert config.teacher.engine_args == {"tensor_parallel_size": 2}
    assert config.tasks.mix == {TaskKind.MCQ: 1.0}
    assert config.verify.thresholds.answer_iou == 0.5
    assert config.verify.thresholds.answer == Config().verify.thresholds.answer
    assert config.publish.shard_bytes == 2_000_000
    assert config.teacher.revision == "007"


def test_a_value_may_hold_an_equals_sign() -> None:
    config = load_config(
        None, ["teacher.kind=openai", "teacher.model=m", "teacher.url=http://h/?a=b"]
    )
    assert config.teacher.url == "http://h/?a=b"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("cut: {craf: 3}", "cut.craf: there is no such field; known are mode, crf"),
        ("cat: {crf: 3}", "cat: there is no such field; known are seed, input, shots"),
        ("cut: 3", "cut:"),
        ("cut: null", "cut:"),
        ("cut: [1]", "cut:"),
        ("cut: {crf: high}", "cut.crf:"),
        ("cut: {crf: 52}", "cut.crf:"),
        ("cut: {crf: 20.5}", "cut.crf:"),
        ("cut: {mode: quick}", "cut.mode:"),
        ("shots: {detector: magic}", "shots.detector:"),
        ("verify: {thresholds: {answer: 2}}", "verify.thresholds.answer:"),
        ("verify: {thresholds: {nope: 1}}", "verify.thresholds.nope: there is no such field"),
        ("tasks: {mix: {riddle: 1}}", "tasks.mix.riddle"),
        ("publish: {validation_share: 1.0}", "publish.validation_share:"),
        ("seed: today", "seed: "),
        ("teacher: {kind: oracle}", "teacher.kind:"),
        ("teacher: {kind: vllm}", "teacher.model:"),
        ("teacher: {kind: openai, model: m}", "teacher.url:"),
        ("seed: 1\nseed: [", "not YAML"),
        ("- 1", "mapping"),
        ("just words", "mapping"),
    ],
)
def test_errors_name_the_field(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert named in str(caught.value)


def test_an_error_shows_what_was_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cut\.crf: .*'high'"):
        load_config(written(tmp_path, "cut: {crf: high}"))


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, "cut: {crf: high}\nshots: {unit: film}\nhat: 1\n"))
    fields = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(fields) == ["cut.crf", "hat", "shots.unit"]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="directory"):
        load_config(str(tmp_path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(str(tmp_path / "binary.yaml"))


@pytest.mark.parametrize("override", ["seed", "=1", "cut.=1", ".crf=1", "cut..crf=1", ""])
def test_overrides_that_are_none(override: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--set {override}: write it as")):
        load_config(None, [override])


def test_overrides_that_lead_through_a_value() -> None:
    with pytest.raises(ConfigError, match="seed is no section"):
        load_config(None, ["seed=1", "seed.x=2"])
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(None, ["seed=[1"])


def test_a_threshold_on_text_needs_text_to_be_looked_for() -> None:
    with pytest.raises(ConfigError, match=r"select\.max_text_share.*overlay_text\.enabled"):
        load_config(None, ["select.max_text_share=0.1"])
    config = load_config(None, ["select.max_text_share=0.1", "overlay_text.enabled=true"])
    assert config.select.max_text_share == 0.1


def test_yaml_can_not_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(written(tmp_path, "seed: !!python/object/apply:os.getpid []"))


def test_reference_lists_every_field() -> None:
    text = reference()
    for section, fields in Config().resolved().items():
        assert f"## {section}\n" in text
        for name in fields if isinstance(fields, dict) else ():
            assert f"`{name}" in text, f"{section}.{name}"


def test_the_resolved_configuration_is_stored(tmp_path: Path) -> None:
    """With every default, and without the paths of this machine."""
    prompts = tmp_path / "my prompts"
    file = written(tmp_path, f"seed: 5\nteacher: {{prompts: {prompts}}}\n")
    out = tmp_path / "out"
    assert run_here(carphone(), "--out", out, "--config", file, *FAST) == 0
    stored = manifest(out)["config"]
    expected = load_config(file, FAST[1::2]).resolved()
    assert expected["teacher"].pop("prompts") == str(prompts)
    assert stored["teacher"].pop("prompts") == "my prompts"
    assert stored == expected
    assert manifest(out)["seed"] == 5


def test_one_weight_of_the_mix_can_be_set_alone() -> None:
    """The others keep theirs; a whole mix given in its place stands as it is."""
    default = load_config(None).tasks.mix
    assert load_config(None, ["tasks.mix.mcq=0"]).tasks.mix == {**default, TaskKind.MCQ: 0.0}
    assert load_config(None, ["tasks.mix={count: 1}"]).tasks.mix == {TaskKind.COUNT: 1.0}


@pytest.mark.parametrize("name", ["hf_token", "api_key", "Authorization"])
def test_secrets_are_refused_since_the_configuration_is_published(name: str) -> None:
    with pytest.raises(ConfigError, match="secret would be published"):
        load_config(None, [f"teacher.extra_body={{{name}: x}}"])
    load_config(None, ["teacher.extra_body={max_completion_tokens: 5}"])


def test_workers_get_full_paths_and_keys_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is stored with the dataset nothing is another either."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "models" / "whisper").mkdir(parents=True)
    (tmp_path / "models" / "whisper" / "config.json").write_text("{}")
    # A folder of this name could be a name on the hub, too.
    given = load_config(None, ["features.pretrained=weights.pt", "speech.model=models/whisper"])
    full = given.with_full_paths()
    assert full.features.pretrained == str(tmp_path / "weights.pt")
    assert full.speech.model == str(tmp_path / "models" / "whisper")
    assert identity(full.features) == identity(given.features)
    assert whisper.identity(full.speech) == whisper.identity(given.speech)
    assert given.features.pretrained == "weights.pt", "the one that is stored"
    named = load_config(None, ["speech.model=openai/whisper-tiny"])
    assert named.with_full_paths() == named


def test_a_model_that_workers_would_not_find_by_its_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "qwen").mkdir(parents=True)
    for section in ("teacher", "verifier"):
        override = [f"{section}.kind=vllm"]
        config = load_config(None, [*override, f"{section}.model=models/qwen"])
        with pytest.raises(ConfigError, match=rf"^{section}\.model: .*{tmp_path}/models/qwen, "):
            check_named_models(config)
        for model in (tmp_path / "models" / "qwen", "Qwen/Qwen3-VL-2B-Instruct"):
            check_named_models(load_config(None, [*override, f"{section}.model={model}"]))

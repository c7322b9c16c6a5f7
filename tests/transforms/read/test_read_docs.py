"""The code in the docs runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from publish_helpers import Item, build_dataset, make_clip, make_sample

from transforms.read.entry import Entry

DOCS = Path(__file__).parents[3] / "docs" / "dataset.md"
README = Path(__file__).parents[3] / "README.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with nine sft samples and two rl ones."""
    folder = tmp_path_factory.mktemp("run")
    clip = make_clip(folder / "c.mp4", 1.5, "testsrc")
    samples = [make_sample(f"s{n}", clip, filled=("segments",)) for n in range(9)]
    samples += [make_sample(f"r{n}", clip, split="rl", filled=("segments",)) for n in range(2)]
    build_dataset(folder / "dataset", [Item(one, "train", clip) for one in samples])
    return folder


def test_reading_in_pytorch(run: Path) -> None:
    _, _, rest = DOCS.read_text("utf-8").partition("\n## Reading it in PyTorch\n")
    section, _, _ = rest.partition("\n## ")
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    found: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace('"DIR"', repr(str(run))), found)
    assert found["question"]["role"] == "user"
    assert found["frames"].shape == (8, 252, 336, 3)
    assert found["times_s"].shape == (8,)
    assert found["shown"].times_s == pytest.approx([0.2, 0.9])
    assert found["shown"].frames.shape == (2, 224, 299, 3)
    # 9 samples on 2 workers: batches of 4, 4 and 1, of which the first was taken.
    assert [len(batch) for batch in found["rest"]] == [4, 1]
    keys = [one.key for batch in [found["batch"], *found["rest"]] for one in batch]
    assert sorted(keys) == [f"s{n}" for n in range(9)]


def test_the_first_lines_of_the_readme(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(
        r"```python\n(import proofreel\n.*?)\nimport webdataset",
        README.read_text("utf-8"),
        re.DOTALL,
    )
    found: dict[str, Any] = {}
    exec(code.replace('"DIR"', repr(str(run))), found)
    assert isinstance(found["entry"], Entry)
    assert capsys.readouterr().out.count("(8, 48, 64, 3)") == 9

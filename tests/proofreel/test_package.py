"""The package that users import is light, and its rewards are the ones that the verifier uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from publish_helpers import Item, build_dataset, make_clip, make_sample

import proofreel
import schemas.rewards

HEAVY = ("apache_beam", "torch", "open_clip", "vllm", "cv2", "av", "pydantic")


def printed(code: str, *arguments: str) -> str:
    """What a fresh Python prints that runs this code."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three samples."""
    folder = tmp_path_factory.mktemp("small")
    clip = make_clip(folder / "c.mp4", 1.0, "testsrc")
    items = [Item(make_sample(key, clip), "train", clip) for key in ("a", "b", "c")]
    build_dataset(folder / "dataset", items)
    return folder


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, proofreel; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert printed(code) == "[]"


def test_opening_needs_no_engine_and_no_torch(small: Path) -> None:
    """As if they were not installed: an iterable of entries, without being a torch dataset."""
    code = f"""
import sys
for name in {[name for name in HEAVY if name not in ("av", "pydantic")]!r}:
    sys.modules[name] = None  # importing it fails
import proofreel
data = proofreel.open(sys.argv[1], frames=2)
state = data.state_dict()
print([(one.key, one.shown.frames.shape) for one in data], state["seen"], len(data))
"""
    shown = (2, 48, 64, 3)
    assert printed(code, str(small)) == f"{[(key, shown) for key in 'abc']} [0] 3"


def test_what_it_names_is_there() -> None:
    for name in proofreel.__all__:
        assert getattr(proofreel, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'closed'"):
        _ = proofreel.closed


def test_the_rewards_are_those_of_the_verifier() -> None:
    assert proofreel.rewards is schemas.rewards
    assert proofreel.rewards.grade("mcq", "(B)", "B") == 1.0

"""The package that users import is light, and its rewards are the ones that the verifier uses."""

from __future__ import annotations

import subprocess
import sys

import schemas.rewards

HEAVY = ("apache_beam", "torch", "open_clip", "vllm", "cv2", "av", "pydantic")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, proofreel; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rewards_are_those_of_the_verifier() -> None:
    import proofreel

    assert proofreel.rewards is schemas.rewards
    assert proofreel.rewards.grade("mcq", "(B)", "B") == 1.0

"""What a process imports for a pipeline with models, before any of them is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "scipy", "transformers", "open_clip", "vllm")


@pytest.mark.parametrize("module", ["pipelines.run", "pipelines.embed", "runners.local_worker"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print([one for one in {HEAVY!r} if one in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_beams_model_manager_can_be_imported_after() -> None:
    code = (
        "import transforms.inference, apache_beam.ml.inference.model_manager as manager;"
        "print(manager.ModelManager.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "ModelManager\n"

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.draft import begin_draft, filling, sweep_drafts
from transforms.outcome import StopRunError


def test_each_run_has_folders_of_its_own(tmp_path: Path) -> None:
    first, second = begin_draft(tmp_path), begin_draft(tmp_path)
    with filling(first.dataset) as folder:
        (folder / "file").touch()
    assert Path(first.dataset, "file").exists()
    assert list(Path(second.dataset).iterdir()) == []


def test_what_was_swept_is_not_made_anew(tmp_path: Path) -> None:
    draft = begin_draft(tmp_path)
    sweep_drafts(tmp_path)
    for folder in (draft.dataset, draft.records, draft.pieces):
        with pytest.raises(StopRunError, match="another run into this output"), filling(folder):
            pass
    assert list(tmp_path.iterdir()) == []

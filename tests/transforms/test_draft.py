from __future__ import annotations

from pathlib import Path

import pytest
from object_store import ObjectStore

from transforms.draft import filling, new_draft, sweep_drafts
from transforms.outcome import StopRunError


def test_each_run_has_folders_of_its_own(tmp_path: Path) -> None:
    first, second = new_draft(str(tmp_path)), new_draft(str(tmp_path))
    first.begin()
    second.begin()
    with filling(first.dataset) as folder:
        (folder / "file").touch()
    assert Path(first.dataset, "file").exists()
    assert list(Path(second.dataset).iterdir()) == []


def test_what_was_swept_is_not_made_anew(tmp_path: Path) -> None:
    draft = new_draft(str(tmp_path))
    draft.begin()
    sweep_drafts(str(tmp_path))
    for folder in (draft.dataset, draft.records, draft.pieces):
        with pytest.raises(StopRunError, match="another run into this output"), filling(folder):
            pass
    assert list(tmp_path.iterdir()) == []


def test_files_are_put_to_a_url_when_all_of_them_are_finished(objects: ObjectStore) -> None:
    draft = new_draft(objects.url("out", "work"))
    draft.begin()
    with filling(draft.dataset) as folder:
        (folder / "sft").mkdir()
        (folder / "sft" / "one.tar").write_bytes(b"one")
        assert objects.files("out/work/partial/").keys() == {f"{draft.root[-32:]}/begun"}
    with pytest.raises(ZeroDivisionError), filling(draft.dataset) as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    found = objects.files(f"out/work/partial/{draft.root[-32:]}/")
    assert found.keys() == {"begun", "dataset/sft/one.tar"}
    assert found["dataset/sft/one.tar"] == b"one"
    assert not folder.exists()


def test_a_draft_at_a_url_that_was_swept_is_not_made_anew(objects: ObjectStore) -> None:
    work = objects.url("out", "work")
    first, second = new_draft(work), new_draft(work)
    first.begin()
    with filling(first.records) as folder:
        (folder / "file").touch()
    objects.client.put_object(Bucket="films", Key="out/work/memo/s/result.json", Body=b"stays")
    sweep_drafts(work)
    second.begin()
    with pytest.raises(StopRunError, match="another run into this output"), filling(first.records):
        pass
    assert objects.files("out/work/").keys() == {
        f"partial/{second.root[-32:]}/begun",
        "memo/s/result.json",
    }

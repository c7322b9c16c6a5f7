"""Does croissant.json describe the dataset that it lies in?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transforms.publish.check_shards import Fault
from transforms.publish.check_split import loads
from transforms.publish.croissant import CONFORMS_TO, DESCRIBED
from transforms.publish.manifest import CROISSANT_FILE, Manifest

MAX_BYTES = 64 << 20


def croissant_faults(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Every file that it lists is one of the dataset, with its hash and size, and none is left out.

    That the file is there, and its own hash, is checked like that of any other.
    """
    path = folder / CROISSANT_FILE
    try:
        if not path.is_file():
            return
        if path.stat().st_size > MAX_BYTES:
            yield Fault(CROISSANT_FILE, f"is larger than {MAX_BYTES} bytes")
            return
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        yield Fault(CROISSANT_FILE, f"can't be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        yield Fault(CROISSANT_FILE, "is no UTF-8 text")
        return
    value = loads(text)
    if value is None:
        yield Fault(CROISSANT_FILE, "is no JSON object")
        return
    if value.get("conformsTo") != CONFORMS_TO:
        yield Fault(f"{CROISSANT_FILE}: conformsTo", f"is not {CONFORMS_TO}")
    told = _told(value)
    expected = _expected(folder, manifest)
    for name in sorted(told.keys() | expected.keys()):
        where = f"{CROISSANT_FILE}: {name}"
        if name not in told:
            yield Fault(where, "is not described")
        elif name not in expected:
            yield Fault(where, "is no file of the dataset")
        else:
            for what, said, is_so in zip(
                ("contentUrl", "sha256", "contentSize"), told[name], expected[name], strict=True
            ):
                if said != is_so:
                    yield Fault(f"{where}: {what}", f"is {said!r}, not {is_so!r}")


def _told(value: Mapping[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Address, hash and size of each file that is listed, by its id."""
    listed = value.get("distribution")
    return {
        str(one.get("@id")): (one.get("contentUrl"), one.get("sha256"), one.get("contentSize"))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and one.get("@type") == "cr:FileObject"
    }


def _expected(folder: Path, manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    found = {
        name: (name, manifest.files[name], f"{(folder / name).stat().st_size} B")
        for name in DESCRIBED
        if name in manifest.files and (folder / name).is_file()
    }
    return found | {
        shard.path: (shard.path, shard.sha256, f"{shard.bytes} B") for shard in manifest.shards
    }

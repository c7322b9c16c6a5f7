"""Good videos under bad names, and names behind which there is no file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from torture_kind import UNSEEN, Kind, Make, clip, lost, unreadable
from torture_making import Shop, salted

from schemas.rejection import Reason, Stage


def good(shop: Shop, path: Path) -> None:
    """A good video; no two are the same bytes."""
    path.write_bytes(salted(shop.faststart.read_bytes(), repr(path.name) + path.parent.name))


def twin(shop: Shop, path: Path) -> None:
    path.write_bytes(salted(shop.faststart.read_bytes(), "twin"))


def link(target: str) -> Make:
    return lambda _, path: path.symlink_to(target)


def link_out(shop: Shop, path: Path) -> None:
    outside = shop.folder / "outside.mp4"
    good(shop, outside)
    path.symlink_to(outside)


def link_to_folder(shop: Shop, path: Path) -> None:
    folder = shop.folder / "folder outside"
    folder.mkdir(exist_ok=True)
    good(shop, folder / "video.mp4")
    path.symlink_to(folder)


def second_name(shop: Shop, path: Path) -> None:
    """A link and what it leads to, in one folder: one video, under the name that sorts first."""
    good(shop, path)
    path.with_name("zz " + path.name).symlink_to(path.name)


def listening(_: Shop, path: Path) -> None:
    # The address of a socket is short, the folder's path may be long.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def locked(shop: Shop, path: Path) -> None:
    good(shop, path)
    path.chmod(0)


NAMES = (
    Kind("new\nline.mp4", good, clip(), "breaks lists with a name per line"),
    Kind('quo\'te "and" `tick`.mp4', good, clip(), "breaks shell lines"),
    Kind("$(touch came-here); x.mp4", good, clip(), "runs commands in shell lines"),
    Kind("\N{CLAPPER BOARD} \N{LATIN SMALL LETTER E WITH ACUTE}.mp4", good, clip(), "not ASCII"),
    Kind("\udcff\udcfe.mp4", good, clip(), "not UTF-8: published as %ff%fe.mp4"),
    Kind("-y.mp4", good, clip(), "looks like an option"),
    Kind("frame%03d.mp4", good, clip(), "looks like a pattern of pictures"),
    Kind("concat:a|b.mp4", good, clip(), "looks like a protocol of ffmpeg's"),
    Kind("http:x.mp4", good, clip(), "looks like an address"),
    Kind(".hidden.mp4", good, clip(), "hidden files are files"),
    Kind("LOUD.MP4", good, clip(), "suffixes in capitals"),
    Kind("n" * 246 + ".mp4", good, clip(), "250 characters"),
    Kind("/".join("d" * 30) + "/deep.mp4", good, clip(), "thirty folders down"),
    Kind("one/same.mp4", good, clip(), "the same name in another folder"),
    Kind("two/same.mp4", good, clip(), "the same name in another folder"),
    Kind("twin a.mp4", twin, clip(), "the same bytes: the first name is kept", together=True),
    Kind(
        "twin b.mp4",
        twin,
        lost(Stage.INGEST, Reason.DUPLICATE, "same bytes as twin a.mp4"),
        "the same bytes: the other names are said to be the same",
        together=True,
    ),
    Kind("an mp4.txt", good, UNSEEN, "folders are searched for video suffixes"),
    Kind("an mp4 that is named.txt", good, clip(), "whoever names a file means it", named=True),
    Kind("a link out.mp4", link_out, clip(), "the user made it: data sets link to their storage"),
    Kind("a link to a folder.mp4", link_to_folder, UNSEEN, "links to folders are not followed"),
    Kind("a name and a link to it.mp4", second_name, clip(), "one file is one input"),
    Kind(
        "loop.mp4",
        link("loop.mp4"),
        unreadable("symbolic links"),
        "a link to itself",
    ),
    Kind(
        "dangling.mp4",
        link("nowhere"),
        lost(Stage.INGEST, Reason.NOT_FOUND),
        "a link to nothing",
    ),
    Kind("endless.mp4", link("/dev/zero"), unreadable("not a regular"), "a device never ends"),
    Kind("pipe.mp4", lambda _, path: os.mkfifo(path), unreadable("not a regular"), "would wait"),
    Kind("socket.mp4", listening, unreadable("not a regular"), "can't be opened"),
    Kind("folder.mp4", lambda _, path: path.mkdir(), UNSEEN, "a folder with a video's suffix"),
    Kind("locked.mp4", locked, unreadable("ermission denied"), "no right to read", together=True),
    Kind(
        "a vanishing one.mp4",
        good,
        lost(Stage.DECODE, Reason.NOT_FOUND, "vanished"),
        "removed by somebody after it was found",
        together=True,
    ),
)

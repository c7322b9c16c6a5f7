"""Where this machine keeps the engines that no Python package brings: Prism, the jars of others.

`scripts/engines.sh` puts them into `.engines` of a clone; `PROOFREEL_ENGINES` names another folder.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from pathlib import Path

ENGINES = "PROOFREEL_ENGINES"
JAVA = 17
"""The release that Flink and Spark, as they are here, are made for."""
JAVA_SAYS_WITHIN_S = 30.0
_JAVA_SAID = re.compile(r'version "(?:1\.)?([0-9]+)')
"""Java 8 calls itself 1.8."""
_GO_MODULE = re.compile(rb"\tgithub\.com/apache/beam/sdks/v2\tv([0-9]+\.[0-9]+\.[0-9]+)")
"""Go writes into a program which modules it was built of."""


def engines_folder() -> Path:
    """The folder, whether it is there or not."""
    return Path(os.environ.get(ENGINES) or Path(__file__).parents[1] / ".engines")


def prism_binary() -> Path | None:
    """Prism in the engines' folder, or on the PATH."""
    if (built := engines_folder() / "prism").is_file():
        return built
    found = shutil.which("prism")
    return Path(found) if found else None


def prism_version(binary: Path) -> str | None:
    """The release of Beam that a Prism was built of, as "2.77.0"; None if it does not tell."""
    try:
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            found = _GO_MODULE.search(data)
            return found[1].decode() if found else None
    except (OSError, ValueError):
        # Not readable, or empty.
        return None


def jars_folder(engine: str) -> Path | None:
    """The folder with an engine's jars and Beam's job server for it."""
    folder = engines_folder() / engine / "jars"
    return folder if any(folder.glob("beam-runners-*.jar")) else None


def java() -> str | None:
    """The Java that Beam would start, too: of JAVA_HOME, or on the PATH."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which(str(Path(home, "bin", "java")) if home else "java")


def java_version(java: str) -> int | None:
    """The release of a Java, as 17; None if it does not tell."""
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=JAVA_SAYS_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _JAVA_SAID.search(done.stderr)
    return int(found[1]) if found else None

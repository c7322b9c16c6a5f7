"""Where this machine keeps the engines that no Python package brings: Prism, the jars of others.

`scripts/engines.sh` puts them into `.engines` of a clone; `PROOFREEL_ENGINES` names another folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ENGINES = "PROOFREEL_ENGINES"


def engines_folder() -> Path:
    """The folder, whether it is there or not."""
    return Path(os.environ.get(ENGINES) or Path(__file__).parents[1] / ".engines")


def prism_binary() -> Path | None:
    """Prism in the engines' folder, or on the PATH."""
    if (built := engines_folder() / "prism").is_file():
        return built
    found = shutil.which("prism")
    return Path(found) if found else None


def jars_folder(engine: str) -> Path | None:
    """The folder with an engine's jars and Beam's job server for it."""
    folder = engines_folder() / engine / "jars"
    return folder if any(folder.glob("beam-runners-*.jar")) else None


def java() -> str | None:
    """The Java that Beam would start, too: of JAVA_HOME, or on the PATH."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which(str(Path(home, "bin", "java")) if home else "java")

"""Profiles: where and how a run is launched, under a name, in the file of the configuration.

They are no part of the configuration: it is stored with the dataset, which has the same bytes
wherever it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.config import PROFILES, ConfigError, read_file
from runners.arguments import with_profile


def launched_by(file: str | None, name: str | None, typed: Sequence[str]) -> list[str]:
    """Beam's options: those of the profile that is named, with those typed on top of them.

    Raises ConfigError if there is no such profile, BadOptionsError if its options can't be taken.
    """
    if name is None:
        return list(typed)
    if file is None:
        raise ConfigError(f"--profile {name}: profiles are in a file; name it with --config")
    profiles = read_file(Path(file)).get(PROFILES) or {}
    if not isinstance(profiles, dict):
        raise ConfigError(f"{file}: {PROFILES}: is a mapping of names to options of Beam")
    if name not in profiles:
        known = ", ".join(map(str, profiles)) or "none"
        raise ConfigError(f"--profile {name}: {file} has no such profile; it has {known}")
    options = profiles[name] or {}
    where = f"{file}: {PROFILES}.{name}"
    if not isinstance(options, dict):
        raise ConfigError(f"{where}: is a mapping of options of Beam to their values")
    return with_profile({str(key): value for key, value in options.items()}, where, typed)

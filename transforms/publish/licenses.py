"""Names of licences, compared as people mean them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def normal_license(name: str) -> str:
    """A name without regard to case and spacing: `CC BY 4.0` and `cc_by-4.0` are `cc-by-4.0`."""
    return re.sub(r"[\s_-]+", "-", name.strip().casefold())


def why_held_back(license: str, allowed: Sequence[str]) -> str:
    """Why a source with this licence may not be published, in words; "" if it may.

    No list, no gate.
    """
    if not allowed or normal_license(license) in {normal_license(one) for one in allowed}:
        return ""
    listed = ", ".join(sorted(allowed))
    said = (
        f"licence {license.strip()!r} is" if license.strip() else "no licence is stated, so it is"
    )
    return f"{said} not among publish.licenses ({listed})"

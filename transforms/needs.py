"""What a step needs of its machine beyond cores, and how an engine is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """Said by the step itself; nothing unless said."""

    gpu: bool = False


NO_NEEDS = Needs()


@dataclass(frozen=True)
class Hints:
    """Beam's resource hints for needs; empty where the engine does not heed any.

    Steps with other hints are in another environment: they are not fused with their neighbours, and
    have workers of their own. So they are given only to those who can do something about them.
    """

    gpu: str = ""
    """Beam's hint `accelerator`."""

    def of(self, needs: Needs) -> dict[str, str]:
        return {"accelerator": self.gpu} if needs.gpu and self.gpu else {}


NO_HINTS = Hints()

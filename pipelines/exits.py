"""How commands end: exit codes."""

from __future__ import annotations

EXIT_OK, EXIT_FAILED, EXIT_ASKED_WRONGLY = 0, 1, 2

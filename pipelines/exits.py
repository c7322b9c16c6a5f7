"""How commands end: exit codes."""

from __future__ import annotations

EXIT_OK, EXIT_FAILED, EXIT_ASKED_WRONGLY = 0, 1, 2
EXIT_INTERRUPTED = 130
"""By Ctrl-C, as shells have it: 128 and the number of the signal."""

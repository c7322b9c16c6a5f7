"""What can be wrong with how a run is to be launched."""

from __future__ import annotations


class BadOptionsError(Exception):
    """Options that can't be taken; the message names them and says what to do."""

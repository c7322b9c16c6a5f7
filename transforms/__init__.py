"""The work, one room per leg of the way."""

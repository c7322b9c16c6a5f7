"""What a teacher's replies took."""

from __future__ import annotations

from schemas.base import Record


class Usage(Record):
    """Replies and their tokens; tokens are counted where the engine tells them."""

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            replies=self.replies + other.replies,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    def cost(self, price_prompt: float, price_completion: float) -> float:
        """At these prices per million tokens."""
        tokens = self.prompt_tokens * price_prompt + self.completion_tokens * price_completion
        return tokens / 1e6

"""Tasks, prompts and teachers: from a clip to questions and reasoned answers."""

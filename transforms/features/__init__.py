"""Clip embeddings, near-duplicates, selection."""

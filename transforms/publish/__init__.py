"""Routing, samples, shards, index, card, and the check of a finished dataset."""

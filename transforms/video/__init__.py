"""Ingest, probe, decode, shots, measures, cut: from a file to clips."""

"""Exporters: one file per trainer, over the same turns, media files and writers."""

"""Beam's options, of which each view is made once.

Beam looks at its options several times for each step of a pipeline, and makes the parser of the
command line anew each time: a second of start-up for a pipeline as long as ours.
"""

from __future__ import annotations

from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

View = TypeVar("View", bound=PipelineOptions)


class Options(PipelineOptions):
    """As Beam's: what is set on a view is set on all, since they share what they hold."""

    def view_as(self, cls: type[View]) -> View:
        """The view of this kind; the same at each call."""
        # Beam refuses attributes that are no options.
        views: dict[type[PipelineOptions], Any] = self.__dict__.setdefault("views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: View = views[cls]
        return view

"""Beam's RunInference, without the model manager that Beam imports with it.

The manager shares out the memory of GPUs among models; proofreel has none of it, and importing it
means torch, scipy and pandas: 1.5 s and 550 MiB for each process, of workers too. Beam takes its
absence for that of its libraries. Whatever is needed of `apache_beam.ml.inference` is taken from
here; a worker's program imports this before anything else does that.
"""

from __future__ import annotations

import sys

_MANAGER = "apache_beam.ml.inference.model_manager"
_absent = _MANAGER not in sys.modules
if _absent:
    sys.modules[_MANAGER] = None  # type: ignore[assignment]
try:
    from apache_beam.ml.inference.base import ModelHandler, RunInference
finally:
    if _absent:
        del sys.modules[_MANAGER]

__all__ = ["ModelHandler", "RunInference"]

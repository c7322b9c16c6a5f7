"""What users import in their own code. Light: no Beam, no vLLM, no open_clip."""

from schemas import rewards

__version__ = "0.1.0"

__all__ = ["__version__", "rewards"]

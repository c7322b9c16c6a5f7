"""What users import in their own code. Light: no Beam, no vLLM, no open_clip."""

__version__ = "0.1.0"

"""How a pipeline is launched: one module per engine."""

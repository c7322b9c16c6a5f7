"""Checks on rollouts, verdicts, and the repair loop."""

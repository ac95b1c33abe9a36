"""Penstock: the gate in front of your LLM APIs."""

__version__ = "0.1.0"

"""Formats only: bytes to values and back. No I/O, clock, randomness, environment, logging or async."""

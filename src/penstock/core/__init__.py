"""PURE: values in, values out. No I/O, clock, randomness, environment, logging or async."""

"""Benchmarks: measured against peers in the same run, never in a test."""

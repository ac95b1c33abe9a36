"""The gateway as it runs: what it holds, what it does again and again, and how it changes while it serves."""

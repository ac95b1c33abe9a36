"""How Penstock speaks to providers: rows, pure adapters, one HTTP sender, two stand-ins."""

"""The load benchmark: CPU per request of a gateway, beside nginx in the same run."""

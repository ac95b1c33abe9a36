"""What the pipeline needs from the world, and nothing about how it is done: a file per kind of thing."""

"""The file, the environment, and the frozen settings made of them."""

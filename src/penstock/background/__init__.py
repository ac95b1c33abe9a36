"""Small loops over what the rest of the house offers."""

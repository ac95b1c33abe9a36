"""The life of a request: ``run.py`` first, then a file per stage."""

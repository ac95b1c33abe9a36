"""Where things are kept: a file per kind of store, SQL in files of its own."""

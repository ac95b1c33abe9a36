"""The report for who pays: figures, charts, and a page of them."""

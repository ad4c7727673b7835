"""What the server reads: one reader for each kind of data."""

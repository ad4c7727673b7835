"""The graph: dtypes, shapes, operation records, nodes, rewriting, signatures and printing."""

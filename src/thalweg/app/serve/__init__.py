"""A trained network as an HTTP server: JSON and files in, predictions out, in batches."""

from thalweg.app.serve.run import serve

__all__ = ["serve"]

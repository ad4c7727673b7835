"""Backends: who runs a graph."""

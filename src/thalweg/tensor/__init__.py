"""Tensors: values and placeholders, functions on them, gradients and compilation."""

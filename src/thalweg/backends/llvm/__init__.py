"""The native backend: a graph becomes loops, LLVM IR, machine code, and one call."""

"""Looking into networks: figures of how training went and of what was learned."""

"""Operations: one record each, and the functions that apply them to nodes."""

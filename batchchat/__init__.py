"""A chat completion for every row of a table: fast, cheap, and safe to leave alone overnight."""

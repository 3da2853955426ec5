"""A small registry for demonstrations, tests and the content of copied tar files."""

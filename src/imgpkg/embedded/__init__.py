"""SERVE: a small registry for demonstrations, tests and copied tarballs."""

"""The JSON forms of results and errors: what `--format json` writes, and `imgpkg.as_json` returns."""

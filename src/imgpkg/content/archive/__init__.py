"""The tar file that `imgpkg copy --to-tar` writes: its manifest.json, a reader and a writer."""

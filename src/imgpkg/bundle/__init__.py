"""MEANING: imgpkg's own documents."""

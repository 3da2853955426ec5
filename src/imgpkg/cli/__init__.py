"""VOICE: argv in, text and exit code out."""

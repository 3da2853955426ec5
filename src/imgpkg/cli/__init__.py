"""The command line: `argv` in, text and an exit code out. No other room prints or exits."""

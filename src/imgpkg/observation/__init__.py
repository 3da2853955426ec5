"""What programs see of operations and requests: records of `logging`, and spans of OpenTelemetry."""

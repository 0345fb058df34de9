"""The policies of this package, one a file: metrics, one deadline, retries, a circuit breaker."""

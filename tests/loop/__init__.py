"""The loop that runs until it is stopped."""

"""The client: one connection, material prepared ahead, predictions, and what it does when the server is busy."""

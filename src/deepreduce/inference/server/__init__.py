"""The server: sessions, admission, limits, prepared material and supervision."""

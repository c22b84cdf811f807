"""Worker processes that compute the offline phase, forked from a small process that holds no secrets."""

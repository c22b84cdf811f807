"""Views of the page: plain values computed from what was read, ready to be rendered."""

"""What the page shows, computed from what was read: plain values, ready to be rendered."""

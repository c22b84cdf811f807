"""Static pictures, drawn by matplotlib: SVG and PNG."""

"""Interactive charts of the page, as Plotly's JSON."""

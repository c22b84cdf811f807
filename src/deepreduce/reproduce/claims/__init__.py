"""The paper's claims and our questions as comparisons over seeds, each with a verdict."""

"""The paper's tables and figures, run again: declarative lists of trainings, what they came to, what they claim."""

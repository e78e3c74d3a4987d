"""Registration of one pair by optimisation."""

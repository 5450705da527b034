"""How facts look: a table in the terminal, a picture. Knows rows and numbers, nothing else."""

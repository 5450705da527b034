"""Everything at once, at random, until something is lost: `make soak`.

Processes and threads plan, apply, check, save and load, are interrupted and killed, and read damaged
files. What must hold is looked at all along: models and settings are as before, results are those of
one thread, files are whole, and nothing ends in another error than isoinit's own.
"""

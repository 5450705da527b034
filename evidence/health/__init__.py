"""Does `isoinit.check` find what was broken on purpose, and leave alone what was not?"""

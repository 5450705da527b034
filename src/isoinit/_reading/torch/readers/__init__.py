"""What each torch function does with the parameters that it is given.

`call` (what a reader is given and gives back), one file a family of functions, and `table` (which
function is read by what: a new one is added there). Imported by `record`: `READERS` from `table`, and
from `call` what is recorded.
"""

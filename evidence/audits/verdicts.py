"""What a person who read the source says of each finding, with the line in `transformers` 5.23.

The first row that fits counts: families (empty: all), the finding, a pattern that its names or its
sentence hold, the verdict, the reason.
"""

VERDICTS: tuple[tuple[str, str, str, str, str], ...] = ()

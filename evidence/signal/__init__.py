"""The signal that plans expect, beside what is measured."""

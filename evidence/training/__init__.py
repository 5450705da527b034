"""Short trainings from a plan and from the library's own recipe."""

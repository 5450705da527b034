"""What is claimed of each method, one script a claim: what is expected, and what was found."""

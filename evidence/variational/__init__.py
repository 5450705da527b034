"""What networks of distributions are claimed to do, shown beside their peers."""

"""What networks with sparse weights are claimed to do, shown beside dense ones and their peers."""

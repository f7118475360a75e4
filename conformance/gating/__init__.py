"""What is expected of a result file, and what deviates. It reads results and catalogue, and runs nothing."""

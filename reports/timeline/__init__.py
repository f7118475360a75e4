"""What changed from release to release of one framework, as pages and pictures."""

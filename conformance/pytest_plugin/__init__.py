"""Every requirement as a test of pytest. The plugin itself imports nothing of ours until it is asked for."""

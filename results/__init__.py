"""The file format: the engine writes it, reports and gate read it. It imports nothing of ours."""

"""What is required, with its sources, and the cases that show it. Nothing here knows what came out."""

"""What is wrong in the form of a worker's messages, all of it at once. Nothing here knows whether a number is right."""

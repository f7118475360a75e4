"""What runs cases: a worker behind the line protocol, or this process. Nothing here judges."""

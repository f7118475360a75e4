"""What is asked of an implementation, and what is answered. Each room uses those below it: see docs/architecture.md."""

"""What a call costs, what it may cost, and proof of both."""

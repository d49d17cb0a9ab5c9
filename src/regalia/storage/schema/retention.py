"""How long contents are kept, and what holds them."""

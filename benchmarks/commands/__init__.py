"""What commands are asked, and what they share of their work."""

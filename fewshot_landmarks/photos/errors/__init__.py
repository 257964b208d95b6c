"""What errors to expect in photos that nobody has annotated, told by annotated ones left out."""

"""What is worn: styles, outlines with landmarks, fabrics."""

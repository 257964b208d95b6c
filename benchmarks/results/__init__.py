"""What a results directory holds, read and checked: no torch."""

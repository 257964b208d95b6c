"""The paper's Tables 2, 3 and 4 from stored errors."""

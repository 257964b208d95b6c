"""The paper's Tables 2, 3 and 4, and one of controls, from stored errors."""

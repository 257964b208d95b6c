"""The paper's own numbers and everything else that the benchmark takes from it."""

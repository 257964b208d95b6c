"""The paper's claims, judged by stored errors."""

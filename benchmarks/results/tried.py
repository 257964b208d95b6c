"""What trials.csv holds, which `benchmarks.tune` writes and `benchmarks.report` shows."""

FILE = "trials.csv"
SCORES = ("score", "second", "third")  # on each rehearsal
COLUMNS = ("benchmark", "learner", "trial", "chosen", *SCORES, "parameters", "seconds")

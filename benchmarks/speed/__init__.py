"""How fast things are: training, evaluation, the index, a GPU."""

"""Measurements beside the tables: the search of hyperparameters, reference predictors."""

"""Measurements beside the tables: the search of hyperparameters, predictors that look at no learner."""

"""Annotations as annotators write them, read and checked."""

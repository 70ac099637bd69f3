"""Recipes, and what the demo needs to make its own corpora and teachers."""

"""Merge the vocabularies of tokenizers of any family, and keep every teacher's segmentation exact."""

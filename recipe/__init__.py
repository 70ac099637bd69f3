"""What a merge is: the recipe, the working directory and the errors every room shares. No heavy import."""

from recipe.errors import (
    CorpusError,
    MergeDistillError,
    MissingExtraError,
    RecipeError,
    StaleError,
    StudentError,
    TargetsError,
    TeacherError,
    VocabularyError,
    WorkerLostError,
)
from recipe.load import load_recipe
from recipe.schema import Recipe, Source, Teacher
from recipe.workdir import Workdir, fingerprint, shard_name

__all__ = [
    "CorpusError",
    "MergeDistillError",
    "MissingExtraError",
    "Recipe",
    "RecipeError",
    "Source",
    "StaleError",
    "StudentError",
    "TargetsError",
    "Teacher",
    "TeacherError",
    "VocabularyError",
    "Workdir",
    "WorkerLostError",
    "fingerprint",
    "load_recipe",
    "shard_name",
]

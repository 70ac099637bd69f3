"""The family of errors a user can cause and mend: one line that names the place and the remedy."""


class MergeDistillError(Exception):
    """A problem in what the user gave us. Commands print it as one line and exit with code 2."""


class RecipeError(MergeDistillError):
    """The recipe, or an override on the command line, is wrong."""


class VocabularyError(MergeDistillError):
    """A tokenizer or a vocabulary cannot be used."""


class CorpusError(MergeDistillError):
    """A corpus is missing, empty or unreadable."""


class TeacherError(MergeDistillError):
    """A teacher model cannot be loaded, or does not fit its tokenizer."""


class TargetsError(MergeDistillError):
    """A file of sequences or targets is damaged, foreign or of another version."""


class StaleError(MergeDistillError):
    """An artefact in the working directory was made from something else than the recipe now says."""


class StudentError(MergeDistillError):
    """The student cannot be built, trained, resumed or evaluated as the recipe asks."""


class WorkerLostError(MergeDistillError):
    """A worker process ended before its work did."""


class MissingExtraError(MergeDistillError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'mergedistill[{extra}]'")

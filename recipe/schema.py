"""What a merge is: typed, validated, frozen. One class a section of the YAML file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from recipe.errors import RecipeError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _no_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"named twice: {', '.join(repeated)}")
    return names


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_no_duplicates)]
Urls = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(_no_duplicates)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Teacher(Section):
    """A pretrained masked LM and its tokenizer, by Hugging Face hub id or local path.

    trust_remote_code: run model code that comes with the checkpoint; a tokenizer's code is never run.
    """

    model: Annotated[str, Field(min_length=1)]
    tokenizer: str | None = None
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = False


class Language(Section):
    """One language: its teachers (the first one's tokenizer is the language's own) and its text."""

    teachers: Names
    corpora: Urls


class Vocab(Section):
    """How two tokens of different teachers are found to be the same one, and which are worth keeping.

    min_count: with `vocab prune`, tokens that the corpora use fewer times than this are dropped; 0 keeps all.
    """

    match: Literal["canonical", "surface"] = "canonical"
    min_count: Annotated[int, Field(ge=0)] = 0


class Sequences(Section):
    """How documents become packed windows of at most `max_length` tokens, special tokens included.

    documents: what of a text file is one document: a line, lines up to a blank one, or the file (`record`); a record of
    JSON lines or Parquet always is. packing: a window holds text of one `document`, or the stream `across` documents
    with separators. deduplicate: whole documents, or also the paragraphs (lines) inside. scripts: Unicode names such as
    Devanagari; a document with less than script_share of its letters in them is filtered out.
    """

    max_length: Annotated[int, Field(ge=8, le=65535)] = 128
    shard_size: Positive = 4096
    heldout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    heldout_max: Positive = 2000
    documents: Literal["line", "blank-line", "record"] = "line"
    packing: Literal["document", "across"] = "document"
    deduplicate: Literal["document", "paragraph"] = "document"
    text_field: str = "text"
    min_chars: Positive = 16
    max_chars: Positive = 1_000_000
    scripts: Names | None = None
    script_share: Share = 0.5


class Masking(Section):
    """Which tokens the teacher has to guess; `copies` draws so many masks of a sequence.

    coverage: over the copies every token is masked exactly once, so each copy masks a share of 1/copies.
    """

    rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    strategy: Literal["80-10-10", "mask-only"] = "80-10-10"
    whole_word: bool = False
    copies: Annotated[int, Field(ge=1, le=254)] = 1
    coverage: bool = False

    @model_validator(mode="after")
    def _coverage_fits_the_rate(self) -> Masking:
        if self.coverage and abs(self.rate * self.copies - 1.0) > 0.1:
            raise ValueError(
                f"coverage: {self.copies} copies mask 1/{self.copies} of the tokens each; set masking.rate to "
                f"{1 / self.copies:.3g}, or masking.copies to {round(1 / self.rate)}"
            )
        return self


class Targets(Section):
    """What is kept of a teacher's distribution at a masked position.

    encoding: the k most likely tokens (`top-k`, the paper), or an unbiased draw of it: `sampled` (so many `draws` with
    replacement, arXiv 2503.16870) or `systematic` (as many equally spaced points of the cumulative distribution from
    one random offset: less variance at the same size).
    """

    encoding: Literal["top-k", "sampled", "systematic"] = "top-k"
    k: Annotated[int, Field(ge=1, le=1024)] = 8
    draws: Annotated[int, Field(ge=1, le=1024)] = 24
    heldout_k: Annotated[int, Field(ge=1, le=1024)] = 64

    @property
    def size(self) -> int:
        """Tokens kept at a position, at most: k, or draws."""
        return self.k if self.encoding == "top-k" else self.draws


class Teaching(Section):
    """How a teacher is run; nothing here changes what a target means, but batch shape moves last bits.

    batch_tokens: padded tokens of a batch; `auto` is 4,096 on a CPU and on a GPU what fits, found by halving after it
    ran out of memory. attention: a Hugging Face implementation, `auto` the model's best. attempts: how often a shard is
    tried before it is recorded as failed.
    """

    batch_tokens: Positive | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    compile: bool = False
    attempts: Annotated[int, Field(ge=1, le=10)] = 2


class Dataflow(Section):
    """Worker settings for RUNNER=DataflowRunner; anything else goes after `--` on the command line."""

    machine_type: str = "n1-standard-8"
    accelerator: str | None = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    disk_size_gb: Positive = 100
    image: str | None = None


class Student(Section):
    """Any Hugging Face masked-LM architecture; `config` overrides its configuration's defaults."""

    model_type: str = "modernbert"
    config: dict[str, Any] = Field(default_factory=dict)


class Training(Section):
    """The student's optimisation. `kd_weight` is the paper's λ: λ·KD + (1−λ)·MLM."""

    steps: Positive = 10_000
    batch_tokens: Positive = 65_536
    accumulate: Positive = 1
    lr: Annotated[float, Field(gt=0.0)] = 5e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Share = 0.06
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    betas: tuple[Share, Share] = (0.9, 0.98)
    clip: Annotated[float, Field(gt=0.0)] = 1.0
    kd_weight: Share = 0.5
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    tail: Literal["renormalise", "ghost"] = "renormalise"
    language_alpha: Share = 0.7
    window: Positive = 4096
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpoint_every: Positive = 1000
    keep: Positive = 2
    log_every: Positive = 20


class Evaluation(Section):
    """`control` also trains and evaluates the same student without distillation (λ = 0)."""

    control: bool = False


class Source(NamedTuple):
    """One (teacher, language) pair: the unit of `sequences/` and `targets/` folders."""

    teacher: str
    language: str

    def __str__(self) -> str:
        return f"{self.teacher}/{self.language}"


class Recipe(Section):
    """A whole merge, as one YAML file describes it."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workdir: Annotated[str, Field(min_length=1)]
    teachers: Annotated[dict[Name, Teacher], Field(min_length=1)]
    languages: Annotated[dict[Name, Language], Field(min_length=1)]
    vocab: Vocab = Vocab()
    sequences: Sequences = Sequences()
    masking: Masking = Masking()
    targets: Targets = Targets()
    teaching: Teaching = Teaching()
    dataflow: Dataflow = Dataflow()
    student: Student = Student()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @field_validator("languages")
    @classmethod
    def _no_reserved_name(cls, languages: dict[str, Language]) -> dict[str, Language]:
        if "by-teacher" in languages:
            raise ValueError("a language cannot be named by-teacher: vocab/tokenizers/by-teacher/ is taken")
        return languages

    @model_validator(mode="after")
    def _draws_are_of_temperature_one(self) -> Recipe:
        if self.targets.encoding != "top-k" and self.training.temperature != 1.0:
            raise ValueError(
                f"training.temperature: must be 1 with targets.encoding: {self.targets.encoding}, whose draws are of "
                "the teacher's distribution as it is"
            )
        return self

    @model_validator(mode="after")
    def _teachers_are_declared(self) -> Recipe:
        for code, language in self.languages.items():
            for position, teacher in enumerate(language.teachers):
                if teacher not in self.teachers:
                    raise ValueError(
                        f"languages.{code}.teachers.{position}: no teacher is named {teacher!r}; "
                        f"declared: {', '.join(self.teachers)}"
                    )
        return self

    def sources(self, language: str | None = None, teacher: str | None = None) -> tuple[Source, ...]:
        """Every (teacher, language) pair, in recipe order, narrowed to one language or teacher if given.

        Raises RecipeError where the language or the teacher is not in the recipe, or they do not meet.
        """
        for given, known, what in ((language, self.languages, "language"), (teacher, self.teachers, "teacher")):
            if given is not None and given not in known:
                raise RecipeError(f"recipe {self.name!r} has no {what} {given!r}; it has: {', '.join(known)}")
        found = tuple(
            Source(name, code)
            for code, settings in self.languages.items()
            for name in settings.teachers
            if language in (None, code) and teacher in (None, name)
        )
        if not found:
            raise RecipeError(f"recipe {self.name!r}: no language {language or 'at all'} uses teacher {teacher!r}")
        return found

"""How the rows of a data set are divided: the `split` of a specification."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.blocks.base import Strict
from service.blocks.values import Says

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Split(Strict):
    """How rows are divided; what is left over trains."""

    validation: Fraction = 0.2
    """Share of rows that early stopping and the choice of the best weights look at; beside a `column`: 0."""
    test: Fraction = 0.0
    """Share of rows that are used once, for the final metrics."""
    column: str | None = None
    """Column that says "train", "validation" or "test" for every row; a fraction then divides its "train" rows."""
    group: str | None = None
    """Column whose equal values stay in one part: a patient, a site; no feature unless it is listed as one."""
    stratify: Annotated[bool | Literal["auto"], Says('true, false or "auto"')] = "auto"
    """Keep the shares of the classes in every part; "auto": for classification, where every class has rows enough."""
    shuffle: bool = True
    """false: the rows keep the order of the file; the last ones test, those before them validate."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Seed of the division; default: the seed of the training."""

    def training_rows(self, rows: int) -> int:
        """Return how many of `rows` train, at most; a column may leave fewer."""
        return max(1, rows - round(rows * self.validation) - round(rows * self.test))

    @model_validator(mode="before")
    @classmethod
    def _let_a_column_decide(cls, value: object) -> object:
        by_column = isinstance(value, dict) and value.get("column") is not None
        return {"validation": 0.0, **value} if isinstance(value, dict) and by_column else value

    @model_validator(mode="after")
    def _agree_with_itself(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together must leave rows to train on (sum below 1)")
        if self.group is not None and self.column is not None:
            raise ValueError("group and column exclude each other: the column says already where every row goes")
        if self.group is not None and self.stratify is True:
            raise ValueError("group and stratify exclude each other: what must stay together cannot be balanced")
        if not self.shuffle and (self.group is not None or self.stratify is True):
            other = "stratify" if self.group is None else "group"
            raise ValueError(f"{other} needs shuffle: it takes rows out of the order of the file")
        return self

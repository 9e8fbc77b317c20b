"""Values to try on a model that may refuse some, from the widest to the narrowest."""

from raybench.inputs import image_strings, random_texts
from raybench.inputs.random_values import INTEGERS as WIDEST
from raybench.models.saved_models import Accepted

# [0, 2) holds for flags, 0 for any index, and 1 for what divides or counts.
INTEGERS = (
    Accepted(*WIDEST), Accepted(0, 10), Accepted(0, 2), Accepted(0, 1), Accepted(1, 2),
)  # fmt: skip
TRUTHS = (Accepted(0, 2), Accepted(0, 1), Accepted(1, 2))
STRINGS = tuple(
    Accepted(form=form)
    for form in (
        random_texts.TEXT,
        random_texts.DIGITS,
        random_texts.DIGIT,
        random_texts.DECIMAL,
        image_strings.JPEG,
        image_strings.BASE64,
        random_texts.JSON,
        random_texts.EXAMPLE,
    )
)

"""What a user writes for --input: results keep it, so it must not hold a secret."""

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator

from raybench.config.model_folders import split_name
from raybench.config.refusal import require
from raybench.config.setting import Text

_SECRET = re.compile(r"(?i)sig$|signature|token|secret|password|credential|access_?key")
_REMEDY = (
    "the results folder would keep it: give it in the environment instead (such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY), or download the file"
)


def _check(text: str) -> str:
    _, source = split_name(text)
    scheme, separator, rest = source.partition("://")
    if not separator:
        return text
    user, is_given, _ = rest.partition("/")[0].rpartition("@")
    has_password = bool(is_given) and ":" in user
    require(not has_password, "input", f"{scheme}://...", f"its address holds a password, and {_REMEDY}")
    for name, _ in parse_qsl(urlsplit(source).query, keep_blank_values=True):
        shown = f"{source.partition('?')[0]}?..."
        require(not _SECRET.search(name), "input", shown, f"its address holds a secret ({name}), and {_REMEDY}")
    return text


InputText = Annotated[Text, AfterValidator(_check)]

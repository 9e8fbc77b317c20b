"""Image files as strings: plain, or in the base64 that TensorFlow decodes."""

import base64
from dataclasses import dataclass

import numpy as np

from raybench.inputs.photo_source import Images

JPEG, BASE64 = "jpeg", "base64"
FORMS = (JPEG, BASE64)


@dataclass(frozen=True)
class ImageStrings:
    """JPEG files for an input of strings whose items have any shape."""

    files: Images  # as JPEG files
    shape: tuple[int, ...]  # of an item
    is_base64: bool

    is_image = True
    distinct = None

    @property
    def encoding(self) -> str:
        shape = f" {list(self.shape)}" if self.shape else ""
        return f"base64 of {self.files.encoding}{shape}" if self.is_base64 else f"{self.files.encoding}{shape}"

    @property
    def item_bytes(self) -> int:
        each = self.files.item_bytes
        return self._files_an_item * (-(-each // 3) * 4 if self.is_base64 else each)

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The files of items by number: [n, *shape]."""
        count = self._files_an_item
        found = self.files.values((numbers[:, np.newaxis] * count + np.arange(count)).ravel())
        if self.is_base64:
            found[:] = [base64.urlsafe_b64encode(file) for file in found]
        return found.reshape(len(numbers), *self.shape)

    @property
    def _files_an_item(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

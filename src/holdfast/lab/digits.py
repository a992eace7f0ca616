"""Handwritten digits read as sequences: row by row, pixel by pixel, or pixel by pixel in another order.

The images are those of the MNIST database or others in its format (idx), which the user has.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from holdfast.data import DataError
from holdfast.training import Loss, TrainingOptions, option, redeclared

from .problem import Batch, Recipe, Start

CLASSES = 10
VALIDATED = 5000  # of the training images, the last: they choose the model and are never trained on
JUDGED = 500  # images at once where nothing is learned
ORDER_SEED = 0  # of the one order in which digits-permuted reads pixels
IMAGES, LABELS = 3, 1  # dimensions of an idx file
BYTES = 8  # the kind of an idx file whose numbers are unsigned bytes


class Images(NamedTuple):
    """Images and what they show.

    Attributes:
        pixels: (N, rows, columns), bytes.
        labels: (N,), 0 to 9.
    """

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Digits:
    """The images by what they are for.

    Attributes:
        train: to learn from.
        valid: to choose the best model by.
        test: to be read once, when all is chosen.
        digest: of all of them.
    """

    train: Images
    valid: Images
    test: Images
    digest: str


def read_digits(folder: Path) -> Digits:
    """Read the four files of the database, each as it is or compressed (.gz).

    Raises:
        DataError: the folder or files are missing, or one is not what its name says; the message says which.
    """
    names = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if not folder.is_dir():
        raise DataError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    found = {name: path for name in names for path in (folder / f"{name}.gz", folder / name) if path.is_file()}
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)} (as they are, or with .gz)")
    images, labels, test_images, test_labels = (found[name] for name in names)
    given, test = _labelled(images, labels), _labelled(test_images, test_labels)
    if given.pixels.shape[1:] != test.pixels.shape[1:]:
        sizes = " and ".join("{} x {}".format(*part.pixels.shape[1:]) for part in (given, test))
        raise DataError(f"the images to learn from and those to test on must have one size; got {sizes}")
    count = len(given.labels) - VALIDATED
    if count < 1:
        raise DataError(
            f"{images} has {len(given.labels):,} images, but more than {VALIDATED:,} are needed: "
            f"the last {VALIDATED:,} are for validation"
        )
    digest = hashlib.sha256()
    for tensor in (*given, *test):
        digest.update(tensor.numpy().tobytes())
    train = Images(given.pixels[:count], given.labels[:count])
    return Digits(train, Images(given.pixels[count:], given.labels[count:]), test, digest.hexdigest())


def _labelled(images: Path, labels: Path) -> Images:
    found = Images(read_idx(images, IMAGES), read_idx(labels, LABELS).long())
    if len(found.pixels) != len(found.labels):
        raise DataError(f"{images} has {len(found.pixels):,} images, but {labels} has {len(found.labels):,} labels")
    if not found.pixels.numel():
        raise DataError(f"{images} has no images")
    if found.labels.max() >= CLASSES:
        raise DataError(f"{labels} must have labels from 0 to {CLASSES - 1}; got {int(found.labels.max())}")
    return found


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The bytes of an idx file, in their shape.

    Args:
        path: the file; one that ends in .gz is decompressed.
        dimensions: how many it must have.

    Raises:
        DataError: it is not such a file, or not whole.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not gzip, or not whole: {error}") from None
    magic, begins = bytes([0, 0, BYTES, dimensions]), 4 + 4 * dimensions
    if content[:4] != magic:
        raise DataError(
            f"{path} is not an idx file of bytes in {dimensions} dimensions: it must begin with {magic.hex()}, "
            f"and begins with {content[:4].hex() or 'nothing'}"
        )
    sizes = [int.from_bytes(content[k : k + 4], "big") for k in range(4, begins, 4)]
    if len(content) != begins + math.prod(sizes):
        shape = " x ".join(map(str, sizes))
        raise DataError(f"{path} must have {begins:,} bytes and {shape} more, as it says; it has {len(content):,}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[begins:].view(sizes)


@dataclass(frozen=True, kw_only=True)
class DigitOptions(TrainingOptions):
    """How a network learns a digit task: by AdamW, its rate falling along a cosine over the given minutes."""

    minutes: float = redeclared("minutes", 10.0)
    batch_size: int = redeclared("batch_size", 100)
    learning_rate: float = redeclared("learning_rate", 0.005)
    device: str = redeclared("device", "cpu")  # as everything in the lab
    units: int = option(64, "Of the layer.", least=1)
    norm: bool = option(Recipe.norm, "Layer norm on the gates and the memory.")
    start: Start = option(Recipe.start, "What forget gates start from.")  # noqa: RUF009


@dataclass(frozen=True)
class DigitTask:
    """A way to read a digit.

    Attributes:
        name: as on the command line.
        summary: what is asked, in one line.
        by_rows: whether a step is a row of pixels, or else one pixel.
        permuted: whether the pixels come in one random order, which is always the same.
        options: how it is learned where nothing else is asked for.
    """

    name: str
    summary: str
    by_rows: bool
    permuted: bool
    options: DigitOptions

    def sequences(self, pixels: Tensor) -> Tensor:
        """Images, (N, rows, columns), as sequences, (N, T, I).

        >>> image = torch.arange(6).view(1, 2, 3)
        >>> DIGITS["digits-rows"].sequences(image).tolist()
        [[[0, 1, 2], [3, 4, 5]]]
        >>> DIGITS["digits-pixels"].sequences(image).tolist()
        [[[0], [1], [2], [3], [4], [5]]]
        """
        if self.by_rows:
            return pixels
        flat = pixels.flatten(1)  # (N, T)
        if self.permuted:
            flat = flat[:, torch.randperm(flat.shape[1], generator=Generator().manual_seed(ORDER_SEED))]
        return flat.unsqueeze(-1)


_BY_PIXEL = DigitOptions(minutes=45.0, batch_size=20, learning_rate=0.002, start="chrono")

DIGITS: dict[str, DigitTask] = {
    one.name: one
    for one in (
        DigitTask("digits-rows", "which digit an image shows, read row by row", True, False, DigitOptions()),
        DigitTask("digits-pixels", "which digit an image shows, read pixel by pixel", False, False, _BY_PIXEL),
        DigitTask("digits-permuted", "the same, the pixels in one random order", False, True, _BY_PIXEL),
    )
}


class DigitProblem:
    """A digit task as the training loop and the model see it.

    Args:
        task: how digits are read.
        digits: the images.
        seed: of the order in which they are learned from.
        batch_size: sequences of a batch; fewer if there are not so many.
    """

    objective: ClassVar[str] = "error"
    symbols: int = 0
    outputs: int = CLASSES
    at_end: bool = True

    def __init__(self, task: DigitTask, digits: Digits, seed: int, batch_size: int) -> None:
        self.task, self.seed = task, seed
        self.train, self.valid = digits.train, digits.valid
        self.batch_size = min(batch_size, len(self.train.labels))
        numbers = self.train.pixels.double()
        self.mean, self.deviation = numbers.mean().item(), max(numbers.std(correction=0).item(), 1.0)
        self.steps, self.features = task.sequences(self.train.pixels[:1]).shape[1:]

    def batch(self, images: Images) -> Batch:
        """Images as sequences of numbers whose mean over the training images is 0 and whose deviation is 1."""
        x = self.task.sequences((images.pixels.float() - self.mean) / self.deviation)  # (B, T, I)
        return Batch(x.transpose(0, 1), images.labels, torch.full((len(x),), x.shape[1]))

    def epoch(self, number: int) -> Sequence[Tensor]:
        """The numbers of all training images, batch by batch, in an order that each epoch has of its own.

        What does not fill a batch is left out.
        """
        seed = torch.randint(2**62, (number + 1,), generator=Generator().manual_seed(self.seed))[number]
        order = torch.randperm(len(self.train.labels), generator=Generator().manual_seed(int(seed)))
        return order[: len(order) // self.batch_size * self.batch_size].split(self.batch_size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each image is a sequence of its own."""
        return ()

    def loss(self, model: nn.Module, batch: Tensor, carry: Sequence[Tensor]) -> Loss:
        """The cross-entropy of training images, from their numbers."""
        asked = self.batch(Images(self.train.pixels[batch], self.train.labels[batch]))
        value = F.cross_entropy(model(asked), asked.target)
        return Loss(value, value, ())

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The measures on the validation part."""
        return self.measures(model, self.valid)

    @torch.no_grad()
    def measures(self, model: nn.Module, images: Images) -> dict[str, float]:
        """The share of images that are taken for another digit, and the mean cross-entropy."""
        wrong, nats = 0, 0.0
        for pixels, labels in zip(images.pixels.split(JUDGED), images.labels.split(JUDGED)):
            batch = self.batch(Images(pixels, labels))
            answer = model(batch)
            wrong += int((answer.argmax(-1) != batch.target).sum())
            nats += F.cross_entropy(answer, batch.target, reduction="sum").item()
        return {"error": wrong / len(images.labels), "nats": nats / len(images.labels)}

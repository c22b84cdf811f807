"""What a search shows of its data."""

import io

import torch
from rich.console import Console

from deepreduce.cli.output.search_results import show_data
from deepreduce.data import Split, assemble


def shown(*counts: tuple[int, int, int]) -> list[str]:
    """The lines for classes ``[0]``, ``[1]`` ... with (training, validation, test) images."""
    splits = []
    for split in range(3):
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor([c[split] for c in counts]))
        splits.append(Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels))
    file = io.StringIO()
    data = assemble("folder:photos", tuple(f"[{index}]" for index in range(len(counts))), *splits)
    show_data(Console(file=file, width=20), data)
    return file.getvalue().splitlines()


def test_images_are_shown_by_class_and_split():
    first = "data: folder:photos: 1,020 training, 21 validation and 31 test images of 2 classes"
    assert shown((20, 1, 1), (1000, 20, 30)) == [first, "  [0]: 20 + 1 + 1", "  [1]: 1000 + 20 + 30"]


def test_equal_classes_take_one_line_and_many_classes_two():
    assert shown(*[(4, 2, 1)] * 100)[1:] == ["  each class: 4 + 2 + 1"]
    many = shown(*[(4, 2, 1)] * 30, (1, 1, 1), (9, 2, 1))
    assert many[1:] == ["  [30]: 1 + 1 + 1 (smallest class)", "  [31]: 9 + 2 + 1 (largest class)"]

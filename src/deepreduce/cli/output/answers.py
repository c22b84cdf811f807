"""Answers for people, each when it is there, and for machines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from ...units import show_bytes, show_seconds
from ..answers import FileAnswer, FileAnswers


def shown_answer(one: FileAnswer, top: int) -> dict[str, Any]:
    """Return one file's answer as JSON: classes with probabilities, logits and cost, or the error."""
    answer = one.answer
    if answer is None:
        return {"file": str(one.path), "error": one.error, "hint": one.hint}
    probabilities = answer.probabilities
    classes = [
        {"index": i, "class": answer.classes[i], "probability": float(probabilities[i])} for i in answer.ranking()[:top]
    ]
    entry: dict[str, Any] = {"file": str(one.path), "classes": classes, "logits": [float(v) for v in answer.logits]}
    if answer.run is not None:
        online = answer.run.online
        entry |= {
            "online_seconds": online.seconds,
            "down_bytes": online.received_bytes,
            "up_bytes": online.sent_bytes,
        }
    return entry


class AnswerLines:
    """A line for each answer on standard output; errors, notes and costs on standard error."""

    def __init__(self, errors: Console, top: int) -> None:
        # Where both are one terminal, the bar's console knows where the bar is.
        out = Console(soft_wrap=True, highlight=False)
        self._console, self._errors = errors if out.is_terminal and errors.is_terminal else out, errors
        self._top = top

    def answer(self, one: FileAnswer) -> None:
        """Show one file."""
        if one.answer is None:
            hint = f" ({one.hint})" if one.hint else ""
            return self._say(f"[bold red]error:[/] {escape(one.error + hint)}")
        best = ", ".join(f"{escape(name)} {100 * value:.1f} %" for name, value in one.answer.top(self._top).items())
        self._console.print(f"{escape(str(one.path))}: {best}", highlight=False, soft_wrap=True)

    def end(self, answers: FileAnswers, about: dict[str, Any]) -> None:
        """Show how many were answered, and what they cost."""
        for note in about["notes"]:
            self._say(f"[yellow]note:[/] {escape(note)}")
        answered = answers.answered
        of, total = f"{len(answered)} of {len(answers.files)} answered", show_seconds(about["seconds"])
        runs = [one.answer.run.online for one in answered if one.answer is not None and one.answer.run is not None]
        if runs:
            seconds = sorted(run.seconds for run in runs)[len(runs) // 2] / about["batch"]
            down, up = (show_bytes(count / about["batch"]) for count in (runs[-1].received_bytes, runs[-1].sent_bytes))
            self._say(
                f"{of}; per image: {show_seconds(seconds)} online, {down} down, {up} up; total {total}; "
                f"{about['prepared']} predictions still prepared"
            )
        elif answers.files:
            self._say(f"{of} in the clear; total {total}" if about["server"] is None else f"{of}; total {total}")
        else:
            self._say(f"{about['prepared']} prepared")

    def _say(self, text: str) -> None:
        self._errors.print(text, highlight=False, soft_wrap=True)

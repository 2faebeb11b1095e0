"""Mistakes on the command line itself, said as all others are: what is wrong, then what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from optzoo.errors import Diagnostic, InputError, nearest

UsageError: Any = typer.BadParameter.__mro__[1]
"""click's; which click that is, is typer's business."""


class AdvisedCommand(TyperCommand):
    """A command that says usage errors as errors of the input."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **more: Any) -> Any:
        """Read what was typed. Raises InputError for what is no option, argument or value."""
        try:
            return super().make_context(info_name, args, parent, **more)
        except UsageError as error:
            raise explained(error, self, _words(parent, info_name)) from None


class AdvisedGroup(TyperGroup):
    """A group that says usage errors as errors of the input, and knows what was meant."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **more: Any) -> Any:
        """Read what was typed. Raises InputError for what is no option."""
        try:
            return super().make_context(info_name, args, parent, **more)
        except UsageError as error:
            if "NoArgs" in type(error).__name__:  # help is shown then
                raise
            raise explained(error, self, _words(parent, info_name)) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command. Raises InputError where there is none of that name."""
        is_word = bool(args) and not args[0].startswith("-")
        if is_word and args[0] not in self.commands and not ctx.resilient_parsing:
            raise unknown_command(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def unknown_command(ctx: Any, word: str, known: Sequence[str]) -> InputError:
    """Return the error about a word that is no command."""
    near = nearest(word, known)
    where = _words(ctx)
    message = f"`{where} {word}`: there is no such command"
    meant = f"did you mean `{where} {near}`?" if near else f"commands: {', '.join(known)}"
    return InputError(Diagnostic("unknown-name", message, hint=meant))


def explained(error: Any, command: Any, where: str) -> InputError:
    """Return a usage error of click as an error of the input, in our words.

    `where` is how the command is typed.
    """
    help_ = f"see `{where} --help`"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        known = [name for p in command.params for name in (*p.opts, *p.secondary_opts)]
        near = nearest(option, [name for name in known if name.startswith("--")])
        hint = f"did you mean `{near}`? {help_}" if near else help_
        message = f"`{option}` is not an option of `{where}`"
        return InputError(Diagnostic("unknown-name", message, hint=hint))
    param = getattr(error, "param", None)
    if param is None or "Missing" in type(error).__name__:
        text = _plain(error.format_message())
        return InputError(Diagnostic("bad-value", text, hint=help_))
    name = param.opts[-1] if param.param_type_name == "option" else param.metavar or param.name
    text = _plain(error.message)
    message = f"`{name}` {text}" if text.startswith("must") else f"`{name}`: {text}"
    offered = re.search(r"`(.*)` is not one of (.*)$", text)
    near = nearest(offered[1], offered[2].split(", ")) if offered else None
    hint = f"did you mean `{near}`? {help_}" if near else help_
    return InputError(Diagnostic("bad-value", message, hint=hint))


def _plain(text: str) -> str:
    """Return a message of click or pydantic without what only they need to say."""
    text = text.removeprefix("Value error, ").rstrip(".")
    text = re.sub(r"^Input should be ", "must be ", text)
    text = re.sub(r", unable to parse.*$", "", text)
    offered = re.fullmatch(r"'(.*)' is not one of (.*)", text)
    if offered:
        return f"`{offered[1]}` is not one of {offered[2].replace(chr(39), '')}"
    return text[:1].lower() + text[1:].replace("'", "`")


def _words(ctx: Any, info_name: str = "") -> str:
    """Return how a command is typed: `optzoo train`, however the program was started."""
    path = f"{ctx.command_path} {info_name}" if ctx is not None else ""
    _, _, below = re.sub(r"[\[{(<].*$", "", path).strip().partition("optzoo")
    return f"optzoo{below.rstrip()}"

"""Commands about prepared data: prepare, verify, show."""

from __future__ import annotations

import json
import shlex
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optzoo.cli.options import JsonOption, QuietOption
from optzoo.cli.usage import AdvisedGroup
from optzoo.errors import printable
from optzoo.tables import align

if TYPE_CHECKING:
    from optzoo.data.preparation.prepare import Prepared

LARGEST = 2**63 - 1  # tokens or documents; indices are numbers of 64 bits
EPILOG = """Examples:

  optzoo data prepare hub:allenai/c4:en --tokenizer t5-base --max-tokens 1e9 --out data/c4-t5

  optzoo data prepare 'c4/en/c4-train.*.json.gz' --validation 'c4/en/c4-validation.*.json.gz'
  --tokenizer tokenizer.json --out data/c4

  optzoo data prepare 'notes/**/*.txt' --out data/notes

  zstdcat text.jsonl.zst | optzoo data prepare - --out data/text

  optzoo data show data/c4-t5

  optzoo train ademamix --set data.path=data/c4-t5
"""

data = typer.Typer(
    name="data",
    cls=AdvisedGroup,
    help="Turn text into token files once; training reads only those.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)
DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="a prepared directory")]


def _count(text: str) -> int:
    """Return a whole number from 1 on, which may be written as 1e9."""
    try:
        number = Decimal(text)
        is_count = 1 <= number <= LARGEST and number == int(number)
    except ArithmeticError:  # no number, or not one that compares
        is_count = False
    if not is_count:
        raise typer.BadParameter(f"`{text}` is not a whole number from 1 to {LARGEST:,}")
    return int(number)


# Options, in the order in which help lists them.
SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="files or patterns (.json, .jsonl, .txt, .csv, .tsv, each compressed too, .parquet, "
        ".arrow), http(s) addresses, hub:REPOSITORY[@REVISION][:CONFIGURATION[:SPLIT]], or - for "
        "standard input",
    ),
]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="where to write")]
TokenizerOption = Annotated[
    str, typer.Option(help="bytes, a tokenizer.json, a .model, or a hub name: t5-base, gpt2")
]
SplitOption = Annotated[str, typer.Option(help="split of hub sources")]
ValidationOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE",
        help="text to validate on; repeatable  [default: the hub's own validation split, the end "
        "of a single text, or one document in --hold-out]",
    ),
]
MaxTokensOption = Annotated[
    int | None, typer.Option(parser=_count, metavar="N", help="stop training text here")
]
MaxDocumentsOption = Annotated[int | None, typer.Option(parser=_count, metavar="N", help="or here")]
MaxValidationTokensOption = Annotated[
    int | None,
    typer.Option(parser=_count, metavar="N", help="stop validation text  [default: 10,000,000]"),
]
HoldOutOption = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="hold out one document in N, by its text, or so much of a single text  [default: 100]",
    ),
]
TextFieldOption = Annotated[
    str, typer.Option(help="field or column that holds the text; a.b inside another")
]
LinesOption = Annotated[
    bool, typer.Option("--lines", help="a line of a .txt is a document, not the file")
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="leave out, and count, what is not a document")
]
EndOfDocumentOption = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="token that ends a document, if unusual  [default: a usual one, or an id of its own]",
    ),
]
ShuffleFilesOption = Annotated[
    int | None, typer.Option(metavar="SEED", help="read the files in another order")
]
ShardTokensOption = Annotated[
    int | None,
    typer.Option(parser=_count, metavar="N", help="size of a token file  [default: 2**26]"),
]


@data.command(epilog=EPILOG)
def prepare(
    sources: SourcesArgument,
    out: OutOption,
    tokenizer: TokenizerOption = "bytes",
    split: SplitOption = "train",
    validation: ValidationOption = None,
    max_tokens: MaxTokensOption = None,
    max_documents: MaxDocumentsOption = None,
    max_validation_tokens: MaxValidationTokensOption = None,
    hold_out: HoldOutOption = None,
    text_field: TextFieldOption = "text",
    lines: LinesOption = False,
    skip_bad: SkipBadOption = False,
    end_of_document: EndOfDocumentOption = None,
    shuffle_files: ShuffleFilesOption = None,
    shard_tokens: ShardTokensOption = None,
    quiet: QuietOption = False,
) -> None:
    """Turn text into token files, once.

    Killed at any moment, the same command goes on where it was and makes the same files. Nothing is
    ever read in place of a source that cannot be reached.
    """
    from optzoo.data.manifest import data_folder
    from optzoo.data.preparation.prepare import prepare as run
    from optzoo.data.preparation.request import Request

    given: dict[str, Any] = {
        "max_validation_tokens": max_validation_tokens,
        "hold_out": hold_out,
        "shard_tokens": shard_tokens,
    }
    request = Request(
        sources=tuple(sources),
        tokenizer=tokenizer,
        split=split,
        validation=tuple(validation or ()),
        text_field=text_field,
        lines=lines,
        max_tokens=max_tokens,
        max_documents=max_documents,
        skip_bad=skip_bad,
        end_of_document=end_of_document,
        shuffle_files=shuffle_files,
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        prepared = run(request, data_folder(out), quiet=quiet)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where this one was", err=True)
        raise typer.Exit(130) from None
    _report(prepared, data_folder(out), max_tokens)


def _report(prepared: Prepared, out: Path, max_tokens: int | None) -> None:
    from optzoo.data.prepared import describe

    if prepared.already:
        typer.echo(f"{printable(str(out))} is complete: nothing to do", err=True)
    tokens = prepared.manifest.train.tokens
    if max_tokens is not None and tokens < max_tokens:
        typer.echo(
            f"note: the sources have {tokens:,} tokens, fewer than the {max_tokens:,} of "
            "--max-tokens",
            err=True,
        )
    typer.echo(_describe_lines(describe(out)))
    folder = printable(shlex.quote(str(out)))
    typer.echo(f"\n  check  optzoo data verify {folder}")
    typer.echo(f"  train  optzoo train adamw --set data.path={folder}")


@data.command()
def verify(folder: DirectoryArgument) -> None:
    """Hash every file again; each damaged one is named.

    Example: optzoo data verify data/c4-t5
    """
    from optzoo.data.manifest import data_folder
    from optzoo.data.prepared import verify as run

    manifest = run(data_folder(folder))
    shards = len(manifest.train.shards) + len(manifest.validation.shards)
    typer.echo(f"ok  {printable(str(folder))}: {shards} shards, fingerprint {manifest.fingerprint}")


@data.command()
def show(folder: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Print what a prepared directory holds, and the beginning of its text.

    Example: optzoo data show data/c4-t5
    """
    from optzoo.data.manifest import data_folder
    from optzoo.data.prepared import describe, draw_sample

    folder = data_folder(folder)
    found = describe(folder)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(_describe_lines(found))
    typer.echo("\nit begins:\n")
    typer.echo("\n".join(f"    {printable(line)}" for line in draw_sample(folder).splitlines()))


def _describe_lines(found: dict[str, Any]) -> str:
    end, size = found["end_of_document"], found["vocabulary"]
    heads = ("split", "documents", "tokens", "bytes", "bytes/token", "files")
    rows = [
        (
            name,
            *(f"{split[key]:,}" for key in heads[1:4]),
            f"{split['bytes_per_token']:.3f}",
            f"{len(split['files']):,}",
        )
        for name, split in found["splits"].items()
    ]
    lines = [
        f"{found['path']}: fingerprint {found['fingerprint'][:12]}",
        f"tokenizer {found['tokenizer']}: {size:,} ids, {end} ends a document, {found['dtype']}",
        f"validation: {found['validation_from']}",
        "",
        *align([heads, *rows], "<>", gap=1, indent=0, least=(10, 12, 15, 15, 11, 5)),
    ]
    for name, split in found["splits"].items():
        for problem, count in split["skipped"].items():
            lines.append(f"{name}: {count:,} left out: {problem}")
    return "\n".join(lines)

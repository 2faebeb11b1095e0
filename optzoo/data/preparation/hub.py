"""The Hugging Face hub: which files a data set has, reading them, and fetching tokenizers.

`datasets` says which files belong to a configuration and split; they are then read one after the
other as they arrive, and never the whole data set. The first request asks for the repository alone
and gives up after a few attempts, so that a hub that cannot be reached is known within seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NoReturn, TypeVar

from optzoo.data.preparation.source_file import SourceFile, describe_file
from optzoo.errors import Diagnostic, InputError, RunError, did_you_mean

ATTEMPTS = 3
TIMEOUT = 20.0  # seconds that a request for metadata may take
T = TypeVar("T")


@dataclass(frozen=True)
class HubSource:
    """`hub:REPOSITORY[@REVISION][:CONFIGURATION[:SPLIT]]`."""

    text: str
    repository: str
    revision: str | None
    configuration: str | None
    split: str | None

    @classmethod
    def parse(cls, text: str) -> HubSource:
        """Read a source. Raises InputError when it names no repository."""
        address, *rest = text.removeprefix("hub:").split(":", 2)
        configuration, split = [*(part or None for part in rest), None, None][:2]
        repository, _, revision = address.partition("@")
        if not repository:
            raise InputError(f"`{text}` names no data set", hint="write `hub:allenai/c4:en`")
        return cls(text, repository, revision or None, configuration, split)


def find_hub_files(text: str, split: str) -> list[SourceFile]:
    """Return the files of a split, at the commit that the hub has now.

    A split that `text` names counts more than `split`.

    Raises InputError for an unknown repository, configuration or split, RunError when the hub
    cannot be reached.
    """
    source = HubSource.parse(text)
    split = source.split or split
    commit, files = _list_splits(source)
    if split not in files:
        raise InputError(
            Diagnostic(
                "unknown-split",
                f"`{text}` has no split `{split}`",
                hint=did_you_mean(split, files, what="its splits"),
            )
        )
    prefix = f"hf://datasets/{source.repository}@{commit}/"
    paths = [str(file).removeprefix(prefix) for file in files[split]]
    listed = _ask(source.text, lambda: _list_files(source.repository, commit, paths))
    return [
        describe_file(
            f"hub:{source.repository}@{commit}/{path}",
            f"datasets/{source.repository}@{commit}/{path}",
            "hub",
            path,
            size=listed[path][0],
            identity=listed[path][1],
        )
        for path in paths
    ]


def list_hub_splits(text: str) -> list[str]:
    """Return the names of the splits of a hub source. Raises as `find_hub_files`."""
    return list(_list_splits(HubSource.parse(text))[1])


def open_hub_file(location: str, *, streaming: bool) -> BinaryIO:
    """Open a file of the hub for reading; only what is not `streaming` can be sought in."""
    from huggingface_hub import HfFileSystem

    options = {"block_size": 0} if streaming else {}
    file: BinaryIO = HfFileSystem().open(location, "rb", **options)
    return file


def fetch_tokenizer(name: str, repository: str) -> bytes:
    """Return the `tokenizer.json` of a repository, from the hub's cache or from the hub."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "tokenizer.json")
    what = f"the tokenizer `{name}`"
    if not isinstance(cached, str):
        _ask(what, lambda: _api().model_info(repository, timeout=TIMEOUT))
        cached = _ask(what, lambda: str(hf_hub_download(repository, "tokenizer.json")))
    with open(cached, "rb") as file:
        return file.read()


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _list_splits(source: HubSource) -> tuple[str, dict[str, list[Any]]]:
    info = _ask(
        source.text,
        lambda: _api().dataset_info(source.repository, revision=source.revision, timeout=TIMEOUT),
    )
    commit = str(info.sha)

    def load() -> dict[str, list[Any]]:
        from datasets import load_dataset_builder

        builder = load_dataset_builder(source.repository, source.configuration, revision=commit)
        return {str(name): list(files) for name, files in (builder.config.data_files or {}).items()}

    return commit, _ask(source.text, load)


def _list_files(repository: str, commit: str, paths: list[str]) -> dict[str, tuple[int, str]]:
    wanted, found = set(paths), {}
    for folder in sorted({str(PurePosixPath(path).parent) for path in paths}):
        place = None if folder == "." else folder
        for entry in _api().list_repo_tree(
            repository, place, revision=commit, repo_type="dataset", recursive=False
        ):
            if entry.path in wanted:
                found[entry.path] = (int(entry.size), str(entry.blob_id))
    return found


def _ask(what: str, request: Callable[[], T]) -> T:
    """Return what a request gives, trying a few times; raise InputError or RunError."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except Exception as error:  # the clients raise errors of several packages
            if attempt < ATTEMPTS and _is_passing(error):
                time.sleep(attempt)
                continue
            _explain(what, error)
    raise AssertionError  # the last attempt returns or raises


def _explain(what: str, error: Exception) -> NoReturn:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    missing = (DatasetNotFoundError, RepositoryNotFoundError, RevisionNotFoundError)
    if isinstance(error, missing):
        raise InputError(
            Diagnostic(
                "not-on-hub",
                f"{_quoted(what)} is not on the hub at {_endpoint()}, or needs a login",
                hint="check its name; `hf auth login` for what is gated",
            )
        ) from None
    if isinstance(error, ValueError) and not is_transport(error):
        raise InputError(Diagnostic("bad-source", f"{_quoted(what)}: {one_line(error)}")) from None
    if not is_transport(error):
        raise error
    from huggingface_hub import constants

    offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
    raise RunError(
        Diagnostic(
            "hub-unreachable",
            f"{_quoted(what)}: the hub at {_endpoint()} cannot be reached{offline}: "
            f"{one_line(error)}",
            hint=REMEDIES,
        )
    ) from None


REMEDIES = """one of these helps; nothing else is read in its place
  unset HF_HUB_OFFLINE HF_DATASETS_OFFLINE            where they are set
  export HF_ENDPOINT=https://YOUR-MIRROR              a mirror of the hub
  hf download allenai/c4 --repo-type dataset --include 'en/c4-*-0000?-of-*.json.gz' --local-dir c4
                                                      on a machine with a network, then name files:
  optzoo data prepare 'c4/en/c4-train.*.json.gz' --validation 'c4/en/c4-validation.*.json.gz' ...
  optzoo data prepare ... --tokenizer tokenizer.json  a tokenizer's file, or `bytes`
  optzoo train RECIPE                                 the embedded corpus: needs neither"""


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _quoted(what: str) -> str:
    return what if "`" in what else f"`{what}`"


def is_transport(error: Exception) -> bool:
    """Say whether an error is about reaching the hub rather than about what was asked."""
    from huggingface_hub.errors import HfHubHTTPError

    client = type(error).__module__.split(".")[0].startswith("httpx")
    return client or isinstance(error, (OSError, HfHubHTTPError))


def _is_passing(error: Exception) -> bool:
    """Say whether asking again may help."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in (429, 500, 502, 503, 504)
    return is_transport(error) and not isinstance(error, OfflineModeIsEnabled)


def one_line(error: Exception) -> str:
    """Return what an error says first."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__

"""Signals: three of them save and stop, one saves and goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tiny_runs import stop_after, tiny_changes

from optzoo.distributed.signals import StopRequest, StopRequestedError
from optzoo.train.runs.checkpoint_folder import list_checkpoints, step_of
from optzoo.train.session import resume_run, start_run

LONG = tiny_changes(("budget.steps", "8"), ("checkpoint.every", "1000"))


def saved(path: Path) -> list[int]:
    return [step_of(checkpoint) for checkpoint in list_checkpoints(path / "checkpoints")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_stopping_saves_first(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(3, monkeypatch, number)
    with pytest.raises(StopRequestedError) as stop:
        start_run("sgd", run_dir=tmp_path / "run", changes=LONG, quiet=True)
    assert stop.value.exit_code == code
    assert stop.value.resume == f"optzoo train --resume {tmp_path / 'run'}"
    assert saved(tmp_path / "run") == [3]
    assert resume_run(tmp_path / "run", quiet=True).result["steps"] == 8


def test_saving_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = start_run("sgd", run_dir=tmp_path / "whole", changes=LONG, quiet=True).result
    stop_after(3, monkeypatch, signal.SIGUSR1)
    done = start_run("sgd", run_dir=tmp_path / "run", changes=LONG, quiet=True)
    assert done.result["views"] == expected["views"]
    assert saved(tmp_path / "run") == [8, 4]
    assert saved(tmp_path / "whole") == [8]


def test_asked_to_save_at_any_time_a_run_does_not_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optzoo.train import session

    assemble = session.assemble

    def interrupted(*given: object, **named: object) -> object:
        os.kill(os.getpid(), signal.SIGUSR1)
        return assemble(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "assemble", interrupted)
    start_run("sgd", run_dir=tmp_path / "run", changes=LONG, quiet=True)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


class TestStopRequest:
    def test_a_second_one_acts_as_without_us(self) -> None:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(StopRequestedError):
                stop.check()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    def test_a_patient_one_takes_many(self) -> None:
        with StopRequest(patient=True) as stop:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            assert stop.received == signal.SIGTERM

    def test_what_nohup_ignores_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with StopRequest() as stop:
                signal.raise_signal(signal.SIGHUP)
                stop.check()
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_saves_are_asked_for_once(self) -> None:
        with StopRequest() as stop:
            assert not stop.take_save()
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR1)
            assert stop.take_save()
            assert not stop.take_save()

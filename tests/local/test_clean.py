"""``make clean`` removes what Nocturne made, and nothing else."""

from pathlib import Path

import pytest

from include.core.settings import Settings
from include.local import clean, control
from include.local.checks import InstallationError
from include.local.setup import exclusive


def installation(var: Path) -> Settings:
    """One with a lake of 2,000,000 bytes."""
    settings = Settings(var=var)
    with exclusive(settings):
        (settings.lake / "gold").mkdir(parents=True)
        (settings.lake / "gold" / "rows").write_bytes(bytes(2_000_000))
    return settings


def by_an_earlier_release(var: Path) -> Settings:
    settings = installation(var)
    for name in clean.OURS:
        (var / name).parent.mkdir(exist_ok=True)
        (var / name).write_text("x")
    (var / clean.MARKER).unlink()
    return settings


def test_what_goes_is_listed_with_its_size_and_then_gone(tmp_path: Path) -> None:
    settings = installation(tmp_path / "var")
    assert f"{settings.var / 'lake'}  2.0 MB" in clean.plan(settings)
    said: list[str] = []
    control.clean(settings, said.append)
    assert not settings.var.exists()
    assert f"{settings.var / 'lake'}  2.0 MB" in said
    control.clean(settings, said.append)  # there is nothing left to remove


def test_a_folder_that_was_there_before_and_is_not_ours_stays(tmp_path: Path) -> None:
    """An unrelated folder, in which a start was even tried."""
    (tmp_path / "thesis.tex").write_text("years of work")
    settings = installation(tmp_path)
    with pytest.raises(InstallationError, match=r"also holds what is not Nocturne's: thesis\.tex"):
        control.clean(settings)
    (tmp_path / "thesis.tex").rename(tmp_path / "log")  # named as one of ours
    with pytest.raises(InstallationError, match=r"has no file \.nocturne"):
        control.clean(settings)
    assert (tmp_path / "log").read_text() == "years of work"
    assert settings.lake.exists()


def test_what_was_put_into_our_folder_later_stays(tmp_path: Path) -> None:
    settings = installation(tmp_path / "var")
    (settings.var / "notes").mkdir()
    with pytest.raises(InstallationError, match="notes"):
        control.clean(settings)
    assert settings.lake.exists()


@pytest.mark.parametrize("folder", [Path("/"), Path.home(), Settings().home, Settings().home.parent])
def test_root_home_and_the_repository_are_refused_whatever_is_in_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "is_ours", lambda var: True)
    monkeypatch.setattr(clean, "foreign", lambda var: [])
    with pytest.raises(InstallationError, match="more than an installation"):
        clean.plan(Settings(var=folder))


def test_an_earlier_releases_installation_is_known_by_what_it_holds(tmp_path: Path) -> None:
    settings = by_an_earlier_release(tmp_path / "var")
    control.clean(settings)
    assert not settings.var.exists()


def test_an_earlier_releases_installation_gets_its_marker_at_the_next_start(tmp_path: Path) -> None:
    settings = by_an_earlier_release(tmp_path / "var")
    with exclusive(settings):
        assert (settings.var / clean.MARKER).exists()


def test_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    settings = installation(tmp_path / "var")
    (tmp_path / "large disk").mkdir()
    (settings.var / "landing").symlink_to(tmp_path / "large disk")
    assert f"{settings.var / 'landing'}  only the link; {tmp_path / 'large disk'} stays" in clean.plan(settings)
    clean.remove(settings)
    assert (tmp_path / "large disk").exists()


def test_what_cannot_be_removed_is_named_and_a_second_try_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = installation(tmp_path / "var")

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(clean.shutil, "rmtree", busy)
        with pytest.raises(InstallationError, match="lake could not be removed"):
            clean.remove(settings)
    clean.remove(settings)
    assert not settings.var.exists()

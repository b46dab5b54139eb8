"""Trials: figures of settings that are not the scale's go to folders of their own."""

import matplotlib
import pytest
from matplotlib import pyplot as plt

from gsmlib import environment
from gsmlib.chapters import export, find, verification

matplotlib.use("agg")
CHAPTER = verification.CHAPTER
USUAL = CHAPTER.resolve(scale="quick")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose figures go to a temporary folder."""
    for name in ("GSMLIB_FIGURES", "GSMLIB_SCALE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(export, "project_root", lambda: tmp_path)
    return tmp_path


def export_as_a_notebook(more="", **given):
    """Export a figure as a notebook does, with its parameters; return its folder."""
    settings = CHAPTER.settings(more, **given)
    boxes = verification.pipeline_boxes(settings)
    drawing = CHAPTER.draw("fig4", boxes)
    files = CHAPTER.export("fig4", drawing, boxes, settings)
    plt.close(drawing)
    assert all(file.is_file() for file in files)
    (folder,) = {file.parent for file in files}
    return folder


def folder_of(more="", **given):
    """Where the figures of these settings of 03_verification would go."""
    settings = CHAPTER.resolve(more, **given)
    return export.figures_folder(settings.scale, CHAPTER.changed(settings))


def test_a_trial_leaves_the_reported_figures_alone(project, capsys):
    folder = export_as_a_notebook(scale="quick", completions=3, sizes=[], more="")
    assert folder == project / "runs/trials/quick-completions=3/figures"
    assert not (project / "figures").exists()
    assert f"its figures go to {folder}" in capsys.readouterr().out


def test_the_scales_own_settings_given_by_name_are_no_trial(project, capsys):
    given = dict(completions=USUAL.completions, sizes=list(USUAL.sizes), seeds="0")
    more = f"dropout={USUAL.dropout} precision={USUAL.precision}"
    folder = export_as_a_notebook(more, scale="quick", **given)
    assert folder == project / "figures" / "quick"
    assert "trial" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "given", "name"),
    [
        ("epochs=3", {}, "quick-epochs=3"),
        ("epochs=3", {"seeds": [0, 1]}, "quick-epochs=3-seeds=0,1"),
        ("dropout=0.1", {"sizes": "10,20"}, "quick-dropout=0.1-sizes=10,20"),
        ("", {"scale": "gpt2", "test_problems": 9}, "gpt2-test_problems=9"),
        ("verifier_learning_rate=1e-5", {}, "quick-verifier_learning_rate=1e-05"),
    ],
)
def test_a_trial_is_named_by_what_differs(project, more, given, name):
    assert folder_of(more, **given) == project / "runs" / "trials" / name / "figures"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"models": "../../a/b,c:d"}, {"models": "../../a/b,c_d"}),
        ({"seeds": list(range(300))}, {"seeds": list(range(299))}),
        ({"models": "é"}, {"models": "è"}),
    ],
)
def test_names_are_short_legal_and_never_the_same(project, one, other):
    folders = [folder_of(**given).parent for given in (one, other)]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.parent == project / "runs" / "trials"
        assert len(folder.name) < 100 and folder.name.isascii()
        assert not set(folder.name) & set('<>:"/\\|?* ')


def test_who_says_where_gets_them_there(project, monkeypatch, tmp_path):
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path / "mine"))
    assert folder_of("epochs=3") == tmp_path / "mine" / "quick"


def test_trials_are_not_tracked_and_not_found_among_the_reported(project):
    folder = folder_of("epochs=3")
    assert "/runs/" in (environment.project_root() / ".gitignore").read_text()
    assert folder.is_relative_to(project / "runs")
    assert not folder.is_relative_to(project / "figures")
    assert export.figures_folder("quick") == project / "figures" / "quick"


def test_the_ledger_is_never_a_trial():
    claims = find("11_claims")
    assert claims.changed(claims.resolve(scale="quick")) == {}

"""Figures for a venue: its width and fonts, nothing cut or overlapping, equal bytes."""

from itertools import combinations

import matplotlib
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from test_figures import FIGURES, TABLES

from gsmlib import cli
from gsmlib.chapters import export, style, textpage

matplotlib.use("agg")
PLOTS = [name for name in TABLES if FIGURES[name].layout is not None]
PAGES = [name for name in TABLES if name not in PLOTS]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(name, venue):
    with style.drawn_for(style.VENUES[venue]):
        figure = export.draw(FIGURES[name], TABLES[name]())
        figure.set_dpi(300)  # as exported: letters are rounded to whole pixels
        figure.canvas.draw()
    return figure


@pytest.mark.parametrize("venue", style.VENUES)
@pytest.mark.parametrize("name", TABLES)
def test_sizes_are_the_venues_and_nothing_is_cut_off(name, venue):
    try:
        figure = drawn(name, venue)
    except style.TooLong:
        assert (name, venue) == ("sidebyside_solutions", "slides")
        return
    width, height = figure.get_size_inches()
    column = style.VENUES[venue].width
    page = column * style.VENUES[venue].columns
    assert width == pytest.approx(column) if name in PLOTS else width <= page + 1e-9
    assert height <= style.VENUES[venue].height + 1e-9
    ink = figure.get_tightbbox(figure.canvas.get_renderer())  # in inches
    assert ink.x0 >= -0.01 and ink.x1 <= width + 0.01
    assert ink.y0 >= -0.01 and ink.y1 <= height + 0.01


def outside_the_view(figure):
    """Labels of ticks that matplotlib keeps, but does not draw."""
    labels = set()
    for axis in (a for axes in figure.axes for a in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        beyond = [tick for tick in ticks if not low <= tick.get_loc() <= high]
        labels |= {text for tick in beyond for text in (tick.label1, tick.label2)}
    return labels


@pytest.mark.parametrize("venue", style.VENUES)
@pytest.mark.parametrize("name", PLOTS)
def test_no_text_lies_on_another(name, venue):
    figure = drawn(name, venue)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    unseen = outside_the_view(figure)
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t not in unseen]
    for (one, a), (other, b) in combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide < 2 or high < 2 or one == other, (one, other)


def test_what_the_venues_ask_for():
    widths = {name: round(venue.width, 2) for name, venue in style.VENUES.items()}
    assert widths == {"acl": 3.03, "neurips": 5.5, "slides": 4.96}
    for venue in style.VENUES:
        figure = drawn("calculator_worth", venue)
        label = figure.axes[0].xaxis.label
        assert label.get_fontsize() == style.VENUES[venue].style["font.size"]
        serif = "STIX" in label.get_fontname()
        assert serif == (venue != "slides")


def test_a_page_is_scaled_as_a_whole():
    ours, acl = TABLES["fig9_calculator"](), drawn("fig9_calculator", "acl")
    figure = export.draw(FIGURES["fig9_calculator"], ours)
    axes = figure.axes[0]
    factor = acl.get_figwidth() / figure.get_figwidth()
    assert factor == pytest.approx(style.VENUES["acl"].width / style.COLUMN_WIDTH)
    assert axes.texts
    for one, other in zip(axes.texts, acl.axes[0].texts, strict=True):
        assert other.get_fontsize() == pytest.approx(factor * one.get_fontsize())


def long_page(lines):
    """Two paragraphs of so many lines each, written on an empty page of ours."""
    paragraph = [[(0, textpage.Span(f"line {number}"))] for number in range(lines)]
    drawing, axes = style.new_drawing(None)
    textpage.write_page(axes, [*paragraph, [], *paragraph])
    style.fit_page(drawing)
    return drawing


def test_a_long_page_stands_in_columns_on_a_slide():
    """Its text is larger than in one column, and every letter of it is there."""
    page, slide = (
        export.draw(FIGURES["fig13_token_scores"], TABLES["fig13_token_scores"]()),
        drawn("fig13_token_scores", "slides"),
    )
    texts = [[text for text in x.axes[0].texts] for x in (page, slide)]
    assert [t.get_text() for t in texts[0]] == [t.get_text() for t in texts[1]]
    one_column = style.VENUES["slides"].height / page.get_figheight()
    sizes = [text.get_fontsize() for text, *_ in texts]
    assert sizes[1] > 1.3 * one_column * sizes[0]


def test_a_page_too_high_for_one_column_fills_two_of_the_page():
    """What fits stays in one column."""
    acl = style.VENUES["acl"]
    with style.drawn_for(acl):
        short, long, longest = (long_page(lines) for lines in (20, 45, 90))
        with pytest.raises(style.TooLong, match="its text would be"):
            long_page(300)
    assert short.get_figwidth() == pytest.approx(acl.width)
    assert long.get_figwidth() == pytest.approx(2 * acl.width)
    sizes = [x.axes[0].texts[0].get_fontsize() for x in (short, long)]
    assert sizes[0] == pytest.approx(sizes[1])
    assert longest.get_figheight() == pytest.approx(acl.height)


def test_our_own_long_pages_stand_in_two_columns_too():
    """So that a page of the report is no strip that one must scroll along."""
    short, long = long_page(20), long_page(60)
    assert short.get_figwidth() == style.COLUMN_WIDTH
    assert long.get_figwidth() == pytest.approx(2 * style.COLUMN_WIDTH)
    assert long.get_figheight() <= style.OURS.height


def test_rows_too_high_for_a_slide_stand_side_by_side():
    for venue, columns in (("acl", 1), ("slides", 2)):
        top, bottom = drawn("fig3_test_at_n", venue).axes
        assert top.get_gridspec().ncols == columns
        assert bottom.get_xlabel() and bool(top.get_xlabel()) == (columns == 2)


def test_colours_and_markers_stay():
    looks = []
    for venue in style.VENUES:
        lines = drawn("fig3_test_at_n", venue).axes[0].lines
        looks.append(
            [(x.get_color(), x.get_marker(), x.get_linestyle()) for x in lines]
        )
    assert looks[0] == looks[1] == looks[2]


def test_the_command_redraws_beside_the_tables_byte_for_byte(tmp_path, capsys):
    folder = tmp_path / "quick"
    folder.mkdir()
    table = folder / "calculator_worth.csv"
    TABLES["calculator_worth"]().to_csv(table, index=False)
    for _ in range(2):
        cli.redraw_figures(tmp_path, "neurips")
        made = sorted((folder / "neurips").iterdir())
        kinds = [path.suffix for path in made]
        assert kinds == [".pdf", ".png", ".svg"]
        known = [path.read_bytes() for path in made]
        assert known == [path.read_bytes() for path in sorted(made)]
    worth = FIGURES["calculator_worth"]
    export.redraw(worth, table, tmp_path / "again", "neurips")
    again = [path.read_bytes() for path in sorted((tmp_path / "again").iterdir())]
    export.redraw(worth, table, tmp_path / "ours")
    ours = [path.read_bytes() for path in sorted((tmp_path / "ours").iterdir())]
    assert known == again != ours
    assert sorted(path.name for path in folder.iterdir()) == [table.name, "neurips"]


def test_a_legend_pushed_out_by_the_layout_comes_back(tmp_path):
    """Its panel is moved after it was centred: export lays such a figure out again."""
    rules = ("strict", "flexible", "given", "strict-match", "flexible-extract")
    rows = [
        {"samples": "a_long_name_of_a_file.jsonl", "rule": rule, "n": 4}
        | {"n_problems": 16, "unanswered": 0.0, "mean_accuracy": 0.5}
        | {"mean_accuracy_low": 0.3, "mean_accuracy_high": 0.7}
        for rule in rules
    ]
    table = pd.DataFrame(rows)
    figure = export.draw(FIGURES["extraction_of_answers"], table)
    with style.drawn_for(style.OURS):
        figure.draw_without_rendering()
    assert not style.legends_fit(figure)
    export.write(figure, table, tmp_path, "extraction_of_answers", {})
    assert style.legends_fit(figure)
